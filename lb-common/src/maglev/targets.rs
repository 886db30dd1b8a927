//! Tables in which members have a part of what their weights say.
//!
//! How far a member's target is below its weight counts beside the others' alone. Those that have the largest part of their
//! weight are *full*: they keep their slots of the base, and take whatever is left over in turn. Every other one has a
//! quota. It keeps the slots of the base that its walk met first, as many as its quota allows; where it has fewer, it
//! takes turns until it has so many. So a target that changes a little moves few slots: those that are given up or taken
//! for it, and those that others choose differently for that.

use alloc::{sync::Arc, vec::Vec};

use super::{Base, Table, fill, turns::UNBOUNDED, walk::Walk};
use crate::slot;

impl Base {
    /// The table in which members have slots in proportion to their targets, given in the members' order; 0 is none. A
    /// member without weight has none, and one with both has at least one.
    ///
    /// Where each target is the member's weight (or the same multiple of it) or 0, this is [`Base::refill`].
    #[must_use]
    pub fn with_targets(&self, targets: &[u64]) -> Arc<Table> {
        self.with_quotas(&quotas(&self.weights, targets, self.table.length() as u32))
    }

    /// The table in which nobody has more slots than its quota. Somebody's is [`UNBOUNDED`], or all are 0.
    pub(super) fn with_quotas(&self, quotas: &[u32]) -> Arc<Table> {
        let is_kept = |(&quota, &share): (&u32, &u32)| quota == share || quota == UNBOUNDED || share == 0;
        if quotas.iter().zip(&self.table.shares).all(is_kept) {
            return Arc::clone(&self.table);
        }
        let mut slots = self.kept(quotas);
        let rooms = quotas.iter().zip(&self.table.shares).map(|(&quota, &share)| match quota {
            UNBOUNDED => UNBOUNDED,
            _ => quota.saturating_sub(share),
        });
        fill::fill(&mut slots, &mut self.turns.within(&rooms.collect::<Vec<_>>()));
        Arc::new(Table::new(slots, &self.names))
    }

    /// The slots of the base whose owners keep them. The others are [`slot::NONE`].
    fn kept(&self, quotas: &[u32]) -> Vec<u16> {
        let is_over = |member: usize| quotas[member] < self.table.shares[member];
        // All ones turn an owner into NONE, without a branch that nobody could predict.
        let gone: Vec<u16> =
            (0..quotas.len()).map(|member| if is_over(member) { slot::NONE } else { 0 }).collect();
        let owners = self.table.slots();
        let mut slots: Vec<u16> = owners.iter().map(|&owner| owner | gone[usize::from(owner)]).collect();
        for (member, mut owned) in self.owned(|member| is_over(member) && quotas[member] > 0) {
            let (quota, length) = (quotas[member] as usize, slots.len() as u32);
            Walk::new(self.names[member], length).sort_out(&mut owned, quota, length);
            for &slot in &owned[..quota] {
                slots[slot as usize] = member as u16;
            }
        }
        slots
    }

    /// The slots of those members for whom `is_asked` holds.
    fn owned(&self, is_asked: impl Fn(usize) -> bool) -> impl Iterator<Item = (usize, Vec<u32>)> {
        let asked: Vec<bool> = (0..self.names.len()).map(is_asked).collect();
        let mut owned: Vec<Vec<u32>> = alloc::vec![Vec::new(); asked.len()];
        if asked.contains(&true) {
            let slots = self.table.slots();
            let owners = (0..).zip(&*slots).map(|(slot, &owner)| (slot, usize::from(owner)));
            for (slot, owner) in owners.filter(|&(_, owner)| asked[owner]) {
                owned[owner].push(slot);
            }
        }
        owned.into_iter().enumerate().filter(move |(member, _)| asked[*member])
    }
}

/// How many slots each member may have: [`UNBOUNDED`] for those that are full.
fn quotas(weights: &[u32], targets: &[u64], length: u32) -> Vec<u32> {
    let wide = |(&weight, &target): (&u32, &u64)| (u128::from(weight), u128::from(target));
    let members = || weights.iter().zip(targets).map(wide);
    let with_both = || members().filter(|&(weight, target)| weight > 0 && target > 0);
    // a / b < c / d without the division.
    let fullest = with_both().max_by(|(a, part_a), (b, part_b)| (part_a * b).cmp(&(part_b * a)));
    let Some((whole, most)) = fullest else { return alloc::vec![0; weights.len()] };
    let total: u128 = with_both().map(|(_, target)| target).sum();
    let quota = |(weight, target): (u128, u128)| match (weight, target) {
        (0, _) | (_, 0) => 0,
        _ if target * whole == most * weight => UNBOUNDED,
        _ => ((target * u128::from(length) + total / 2) / total).max(1) as u32,
    };
    members().map(quota).collect()
}
