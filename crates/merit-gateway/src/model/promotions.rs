//! Proposals to change a tier.

use super::fold::Folded;
use super::key::{Key, Table};
use merit_runtime::tables::Changes;

pub(super) fn fold(record: &Folded<'_>, rows: &mut Changes<'_>) {
    let id = record.id();
    rows.put(&Key::of(Table::Promotion).id(id).end(), &record.row());
    rows.mark(&Key::of(Table::PromotionTime).time(record.frame.time).id(id).end());
}
