//! ConfigEpochs: the configuration in force, and the one that comes next.

use crate::RuntimeError;
use merit_core::record::{ConfigEpoch, Lineage, Parameter};
use merit_core::{Datum, List};
use merit_topology::Topology;

/// Parameters of a topology as a ConfigEpoch carries them.
pub fn parameters(topology: &Topology) -> Vec<Parameter<'_>> {
    topology.settings.iter().map(|(path, value)| Parameter { path, value }).collect()
}

/// The ConfigEpoch of a topology.
#[derive(Clone, Copy)]
pub struct Wanted<'a> {
    /// The topology.
    pub topology: &'a Topology,
    /// Its [`parameters`].
    pub parameters: &'a [Parameter<'a>],
    /// Partitions of the first sub-topology's input.
    pub partitions: u32,
    /// Public half of the emitter key.
    pub emitter_key: [u8; 32],
}

impl<'a> Wanted<'a> {
    /// What follows the encoding of the epoch in force, which is empty before the first; none where nothing changed and no lineage
    /// begins. Refused where the emitter key is not the one in force.
    pub fn behind(&self, in_force: &[u8], lineage: Option<Lineage<'a>>) -> Result<Option<ConfigEpoch<'a>>, RuntimeError> {
        let Wanted { topology, parameters, partitions, emitter_key } = *self;
        let (origin, key_name, parameters) = (&topology.origin, &topology.key_name, List::Slice(parameters));
        let first = ConfigEpoch { number: 0, origin, key_name, emitter_key, partitions, parameters, lineage };
        let Some(current) = ConfigEpoch::decode(in_force) else { return Ok(Some(first)) };
        if current.emitter_key != emitter_key {
            return Err(RuntimeError::KeyDiffers);
        }
        let is_same = lineage.is_none() && ConfigEpoch { number: current.number, lineage: current.lineage, ..first } == current;
        Ok((!is_same).then_some(ConfigEpoch { number: current.number + 1, ..first }))
    }
}
