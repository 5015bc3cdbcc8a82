//! The ledger of a pool's units in double entry: the second, independent guard of what the core decides.
//!
//! | account | holds | limited |
//! |---|---|---|
//! | `CAP:pool` | units that nobody uses | yes |
//! | `LIM:pool:division` | quota that the division does not use, where it has one | yes |
//! | `OCC:pool:division:entity` | units that the entity uses | yes |
//! | `SRC` | the other side: where units and quotas come from | no |
//!
//! A grant reserves `CAP` to `OCC` and `LIM` to `SRC`; the reservation is posted when the units are observed in place and voided
//! when they will not come. What drained moves from `OCC` to `CAP`. After that, and when capacity or quota changes,
//! `CAP` and `LIM` are brought to what capacity and nominal say, as far as they are not in use.

use crate::state::{Balance, Pool, Target};
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;
use merit_core::Fault;
use merit_core::record::{Transfer, TransferState};

/// One line of the ledger.
#[derive(Debug)]
pub(crate) struct Line {
    debit: String,
    credit: String,
    amount: u64,
    state: TransferState,
}

/// The lines as records carry them.
pub(crate) fn transfers(lines: &[Line]) -> Vec<Transfer<'_>> {
    lines.iter().map(|line| Transfer { debit: &line.debit, credit: &line.credit, amount: line.amount, state: line.state }).collect()
}

/// The accounts that one change touches.
pub(crate) struct Accounts<'a> {
    pub pool: &'a str,
    pub division: &'a str,
    pub agent: &'a str,
    pub of_pool: &'a mut Pool,
    pub of_entity: &'a mut Target,
}

#[derive(Clone, Copy, Debug)]
enum Account {
    Capacity,
    Limit,
    Occupied,
    Source,
}

impl Accounts<'_> {
    /// Reserves units, and quota where the division has one.
    pub(crate) fn reserve(&mut self, amount: u64) -> Result<(Vec<Line>, bool), Fault> {
        let limited = self.of_pool.divisions.get(self.division).is_some_and(|division| division.nominal.is_some());
        self.of_pool.divisions.entry(self.division.into()).or_default().used += amount;
        Ok((self.carry(amount, limited, TransferState::Pending)?, limited))
    }

    /// Carries a reservation out.
    pub(crate) fn post(&mut self, amount: u64, limited: bool) -> Result<Vec<Line>, Fault> {
        self.carry(amount, limited, TransferState::Posted)
    }

    /// Gives a reservation up.
    pub(crate) fn void(&mut self, amount: u64, limited: bool) -> Result<Vec<Line>, Fault> {
        let mut lines = self.carry(amount, limited, TransferState::Voided)?;
        self.free(amount, &mut lines)?;
        Ok(lines)
    }

    /// Takes units back that were posted.
    pub(crate) fn give_back(&mut self, amount: u64) -> Result<Vec<Line>, Fault> {
        let mut lines = Vec::new();
        self.enter(Account::Occupied, Account::Capacity, amount, TransferState::Moved, &mut lines)?;
        self.free(amount, &mut lines)?;
        Ok(lines)
    }

    fn carry(&mut self, amount: u64, limited: bool, state: TransferState) -> Result<Vec<Line>, Fault> {
        let mut lines = Vec::new();
        self.enter(Account::Capacity, Account::Occupied, amount, state, &mut lines)?;
        if limited {
            self.enter(Account::Limit, Account::Source, amount, state, &mut lines)?;
        }
        Ok(lines)
    }

    fn free(&mut self, amount: u64, lines: &mut Vec<Line>) -> Result<(), Fault> {
        if let Some(division) = self.of_pool.divisions.get_mut(self.division) {
            division.used -= amount;
        }
        if self.of_entity.occupied.get(self.division) == Some(&Balance::default()) {
            self.of_entity.occupied.remove(self.division);
        }
        self.settle_capacity(lines)?;
        self.settle_limit(lines)
    }

    /// Brings `CAP` to the capacity, less what is used.
    pub(crate) fn settle_capacity(&mut self, lines: &mut Vec<Line>) -> Result<(), Fault> {
        let used: u64 = self.of_pool.divisions.values().map(|division| division.used).sum();
        let wanted = self.of_pool.capacity.saturating_sub(used);
        self.settle(Account::Capacity, wanted, lines)
    }

    /// Brings `LIM` to the nominal quota, less what is used.
    pub(crate) fn settle_limit(&mut self, lines: &mut Vec<Line>) -> Result<(), Fault> {
        let division = self.of_pool.divisions.get(self.division);
        let wanted = division.and_then(|division| Some(division.nominal?.saturating_sub(division.used)));
        wanted.map_or(Ok(()), |wanted| self.settle(Account::Limit, wanted, lines))
    }

    fn settle(&mut self, account: Account, wanted: u64, lines: &mut Vec<Line>) -> Result<(), Fault> {
        let lacking = wanted as i64 - self.balance(account).available();
        let (debit, credit) = if lacking < 0 { (account, Account::Source) } else { (Account::Source, account) };
        self.enter(debit, credit, lacking.unsigned_abs(), TransferState::Moved, lines)
    }

    fn enter(&mut self, debit: Account, credit: Account, amount: u64, state: TransferState, lines: &mut Vec<Line>) -> Result<(), Fault> {
        if amount == 0 {
            return Ok(());
        }
        let (posted, pending) = effect(amount, state);
        let giver = self.balance(debit);
        giver.posted -= posted;
        let debits = giver.debits_pending.checked_add_signed(pending);
        giver.debits_pending = debits.unwrap_or(0);
        let overdrawn = giver.available() < 0 && !matches!(debit, Account::Source);
        let taker = self.balance(credit);
        taker.posted += posted;
        let credits = taker.credits_pending.checked_add_signed(pending);
        taker.credits_pending = credits.unwrap_or(0);
        if overdrawn || debits.is_none() || credits.is_none() {
            let (debit, credit) = (self.name(debit), self.name(credit));
            return Err(Fault(format!("the ledger does not allow a transfer of {amount} from {debit} to {credit}: {state:?}")));
        }
        lines.push(Line { debit: self.name(debit), credit: self.name(credit), amount, state });
        Ok(())
    }

    fn balance(&mut self, account: Account) -> &mut Balance {
        match account {
            Account::Capacity => &mut self.of_pool.free,
            Account::Limit => &mut self.of_pool.divisions.entry(self.division.into()).or_default().limit,
            Account::Occupied => self.of_entity.occupied.entry(self.division.into()).or_default(),
            Account::Source => &mut self.of_pool.source,
        }
    }

    fn name(&self, account: Account) -> String {
        let Accounts { pool, division, agent, .. } = self;
        match account {
            Account::Capacity => format!("CAP:{pool}"),
            Account::Limit => format!("LIM:{pool}:{division}"),
            Account::Occupied => format!("OCC:{pool}:{division}:{agent}"),
            Account::Source => "SRC".into(),
        }
    }
}

/// What a transfer adds to the posted and to the pending column. Amounts stay below [`MAX_CAPACITY`](crate::logic::MAX_CAPACITY).
fn effect(amount: u64, state: TransferState) -> (i64, i64) {
    let amount = amount as i64;
    match state {
        TransferState::Pending => (0, amount),
        TransferState::Posted => (amount, -amount),
        TransferState::Voided => (0, -amount),
        TransferState::Moved => (amount, 0),
    }
}
