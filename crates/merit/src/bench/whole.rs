//! The pipeline as it runs.

use super::Task;
use super::load::{Bodies, CHUNK, Decoder};
use super::measure::{Measured, Stopwatch};
use crate::failure::Failure;
use crate::{import, registry};
use merit_audit::Signer;
use merit_core::record::{DefinePool, PoolState};
use merit_core::{EventTime, Key, Payload};
use merit_runtime::{Engine, Input, Options, key};

/// Runs every report to completion on a new directory.
pub(super) fn run(task: &Task) -> Result<Measured, Failure> {
    let topology = &task.topology;
    let directory = task.directory()?;
    let mut watch = Stopwatch::start();
    let signer = Signer::new(&topology.key_name, &key::read_or_create(&directory.join("audit.key"))?);
    let mut engine = Engine::open(&directory, topology, &registry::registered(), signer, Options::default())?;
    define_pool(&mut engine)?;
    let mut decoder = Decoder::new(task.format);
    let mut bodies = Bodies::default();
    let mut taken = 0;
    while taken < task.reports {
        let end = (taken + CHUNK).min(task.reports);
        watch.leave_out(|| bodies.fill(taken..end, task.agents, task.format));
        for body in bodies.iter() {
            let report = decoder.read(body)?;
            let key = Key::new(report.agent_id);
            let partition = engine.report_partition(&key);
            engine.take(&Input { partition, key, time: report.timestamp, payload: Payload::EvalReport(&report), headers: None })?;
            taken += 1;
            if taken.is_multiple_of(import::TICK_ROWS) {
                import::tick(&mut engine)?;
            }
            if engine.commit_due() {
                engine.commit(Vec::new())?;
            }
        }
    }
    import::tick(&mut engine)?;
    let layout = engine.layout().clone();
    let store = engine.close(Vec::new())?;
    super::measured(&watch, &store, &layout)
}

/// A pool for the agents that are promoted, so that decisions go all the way.
fn define_pool(engine: &mut Engine) -> Result<(), Failure> {
    for partition in engine.layout().all_of("alloc.requests").into_iter().flatten() {
        let pool = DefinePool { pool: "gpus-us-east", capacity: 1_000_000_000, state: PoolState::Open };
        engine.take(&Input {
            partition,
            key: Key::new(pool.pool),
            time: EventTime::MIN,
            payload: Payload::DefinePool(&pool),
            headers: None,
        })?;
    }
    Ok(())
}
