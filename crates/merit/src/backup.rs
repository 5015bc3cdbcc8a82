//! `merit backup` and `merit restore`: everything that a directory holds, as one copy that can be trusted.

use crate::failure::Failure;
use crate::output::Output;
use crate::{Place, audit, registry, session};
use clap::Args;
use merit_core::id::Hex;
use merit_runtime::backup;
use merit_runtime::layout::Layout;
use merit_runtime::store::{Content, Store};
use serde_json::{Value, json};
use std::path::{Path, PathBuf};

#[derive(Args)]
pub(crate) struct Backup {
    /// The directory to make; it gets its name when it is whole.
    directory: PathBuf,
    #[command(flatten)]
    place: Place,
    /// Copy the emitter key too: who has the backup can then sign.
    #[arg(long)]
    with_key: bool,
}

#[derive(Args)]
pub(crate) struct Restore {
    /// A directory that `merit backup` made.
    directory: PathBuf,
    #[command(flatten)]
    place: Place,
}

impl Backup {
    pub(crate) fn run(self, out: &mut Output) -> Result<(), Failure> {
        let (store, _) = session::read_log(&self.place)?;
        let key = session::key_path(&self.place, None);
        let content = backup::backup(&store, &self.directory, self.with_key.then_some(key.as_path()), |bytes| told(bytes, out))?;
        out.progress("");
        if out.json {
            return out.line(as_json(&self.directory, &content, self.with_key).to_string());
        }
        out.line(format!("{}: {}, read back and equal", self.directory.display(), in_words(&content)))?;
        out.line(match self.with_key {
            true => "the key is in it: who has the backup can sign".into(),
            false => format!("the key is not in it: keep {} elsewhere, since a restored log goes on with no other", key.display()),
        })?;
        out.line(format!("`merit restore {} --data-dir NEW` brings it back", self.directory.display()))
    }
}

impl Restore {
    pub(crate) fn run(self, out: &mut Output) -> Result<(), Failure> {
        let to = &self.place.data_dir;
        let topology = session::topology(self.place.topology.as_deref())?;
        let layout = Layout::new(&topology, &registry::registered());
        let (content, has_key) = backup::restore(&self.directory, to, &layout, |bytes| told(bytes, out))?;
        let leaves = audit::leaves(&Store::open_to_read(to)?, &layout, out)?;
        out.progress("");
        if out.json {
            let mut value = as_json(to, &content, has_key);
            value["leaves"] = json!(leaves);
            return out.line(value.to_string());
        }
        out.line(format!("{}: {}, as they were backed up; no fault in {leaves} leaves", to.display(), in_words(&content)))?;
        out.line(match has_key {
            true => "the key came with it".into(),
            false => format!("the key did not come with it: put it at {}, or pass it by --audit-key FILE", to.join("audit.key").display()),
        })
    }
}

fn told(bytes: u64, out: &mut Output) {
    out.progress(&format!("{} MB copied", bytes / 1_000_000));
}

fn in_words(content: &Content) -> String {
    format!("{} rows, {:.1} MB", content.rows, content.bytes as f64 / 1e6)
}

fn as_json(directory: &Path, content: &Content, key: bool) -> Value {
    let Content { rows, bytes, digest } = content;
    json!({ "directory": directory, "rows": rows, "bytes": bytes, "digest": Hex(digest).to_string(), "key": key })
}
