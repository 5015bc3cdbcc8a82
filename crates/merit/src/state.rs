//! `merit state`: rows of stores as of the last checkpoint.

use crate::code;
use crate::failure::Failure;
use crate::output::Output;
use crate::{Place, session};
use clap::{Args, Subcommand};
use merit_core::Shape;
use merit_runtime::layout::Layout;
use merit_runtime::store::{Store, state_prefix};

#[derive(Subcommand)]
pub(crate) enum State {
    /// The rows of one key.
    Get(Get),
    /// Every row of a store, by partition and key.
    Scan(Scan),
}

#[derive(Args)]
pub(crate) struct Get {
    /// The store, as topology.toml names it.
    store: String,
    /// The key.
    key: String,
    #[command(flatten)]
    place: Place,
}

#[derive(Args)]
pub(crate) struct Scan {
    /// The store, as topology.toml names it.
    store: String,
    #[command(flatten)]
    place: Place,
}

impl State {
    pub(crate) fn run(self, out: &mut Output) -> Result<(), Failure> {
        let (name, key, place) = match &self {
            State::Get(get) => (&get.store, Some(get.key.as_str()), &get.place),
            State::Scan(scan) => (&scan.store, None, &scan.place),
        };
        let (store, layout) = session::read_only(place)?;
        let mut found = 0;
        let known = rows(&store, &layout, name, |task, row_key, part, value| {
            if key.is_some_and(|key| key != row_key) {
                return Ok(());
            }
            found += 1;
            out.line(if out.json {
                format!(r#"{{"task":"{task}","store":"{name}","key":{},"part":{part},"value":{value}}}"#, serde_json::json!(row_key))
            } else {
                format!("{task:<12} {row_key:<24} {part:<4} {value}")
            })
        })?;
        if !known.iter().any(|store| store == name) {
            return Err(
                Failure::new(code::STORE_UNKNOWN, format!("there is no store {name:?}")).hint(format!("one of {}", known.join(", ")))
            );
        }
        match (key, found) {
            (Some(key), 0) => Err(Failure::new(code::KEY_UNKNOWN, format!("store {name} holds no key {key:?}"))),
            _ => Ok(()),
        }
    }
}

/// Gives every row of a store as JSON text: task, key, part, value. Returns the names of all stores.
pub(crate) fn rows(
    store: &Store,
    layout: &Layout,
    name: &str,
    mut then: impl FnMut(&str, &str, u32, &str) -> Result<(), Failure>,
) -> Result<Vec<String>, Failure> {
    let mut known = Vec::new();
    for (number, task) in layout.tasks.iter().enumerate() {
        let label = format!("{}/{}", task.name, task.partition);
        for mut processor in layout.chain(number) {
            let mut shapes: Option<Box<dyn Fn(u32) -> &'static Shape>> = None;
            processor.stores(&mut |rows| {
                if !known.iter().any(|store| store == rows.name()) {
                    known.push(rows.name().to_owned());
                }
                if rows.name() == name {
                    let (head, rest) = (rows.shape(0), rows.shape(1));
                    shapes = Some(Box::new(move |part| if part == 0 { head } else { rest }));
                }
            });
            let Some(shapes) = shapes else { continue };
            let mut failed = Ok(());
            store.state(&state_prefix(&task.name, task.partition, name), |key, part, bytes| {
                let mut value = String::new();
                let text = merit_codec::write_json(shapes(part), bytes, &mut value).map_or("null", |()| &value);
                if failed.is_ok() {
                    failed = then(&label, key, part, text);
                }
                Ok(())
            })?;
            failed?;
        }
    }
    Ok(known)
}
