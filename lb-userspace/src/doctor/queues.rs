//! How an interface's packets are spread over CPUs: by its receive queues, and by their interrupts.

use std::collections::BTreeSet;

use super::{Facts, Finding, Link};

pub(super) fn check(name: &str, link: &Link, facts: &Facts) -> Vec<Finding> {
    // A pair of virtual devices has no interrupts, and its packets come where they were sent.
    if facts.cpus < 2 || link.veth {
        return Vec::new();
    }
    queues(name, link, facts.cpus).into_iter().chain(interrupts(name, link, facts.cpus)).collect()
}

fn queues(name: &str, link: &Link, cpus: usize) -> Option<Finding> {
    let (1, most) = link.queues? else { return None };
    let wanted = most.min(u32::try_from(cpus).unwrap_or(u32::MAX));
    let found = format!("it has one receive queue of {most} that it may have: one CPU takes in all packets");
    let finding = Finding::hint(name, found).remedy(format!("ethtool -L {name} combined {wanted}"));
    (wanted > 1).then_some(finding)
}

fn interrupts(name: &str, link: &Link, cpus: usize) -> Option<Finding> {
    let (queues, _) = link.queues?;
    let places: BTreeSet<&str> = link.interrupts.iter().map(|interrupt| interrupt.cpus.as_str()).collect();
    let cpu = places.first().filter(|cpu| places.len() == 1 && cpu.parse::<usize>().is_ok())?;
    if queues < 2 || link.interrupts.len() < 2 {
        return None;
    }
    let found = format!("it has {queues} receive queues, and CPU {cpu} gets the interrupts of all of them");
    let spread = link.interrupts.iter().enumerate().map(|(index, interrupt)| {
        format!("echo {} >/proc/irq/{}/smp_affinity_list", index % cpus, interrupt.number)
    });
    Some(Finding::hint(name, found).remedy(spread.collect::<Vec<_>>().join("; ")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doctor::Interrupt;

    fn link(queues: (u32, u32), cpus: &[&str]) -> Link {
        let interrupt = |(number, cpus): (u32, &&str)| Interrupt { number, cpus: (*cpus).to_owned() };
        Link {
            queues: Some(queues),
            interrupts: (40..).zip(cpus).map(interrupt).collect(),
            ..Link::default()
        }
    }

    fn remedies(link: &Link, cpus: usize) -> Vec<String> {
        let facts = Facts { cpus, ..Facts::default() };
        check("eth0", link, &facts).into_iter().map(|finding| finding.remedy.unwrap()).collect()
    }

    #[test]
    fn single_queue_of_several_is_told() {
        assert_eq!(remedies(&link((1, 8), &["0"]), 4), ["ethtool -L eth0 combined 4"]);
        assert_eq!(remedies(&link((1, 1), &["0"]), 4), Vec::<String>::new());
        assert_eq!(remedies(&link((1, 8), &["0"]), 1), Vec::<String>::new(), "one CPU");
        assert_eq!(remedies(&Link { veth: true, ..link((1, 8), &[]) }, 4), Vec::<String>::new());
    }

    #[test]
    fn interrupts_on_one_cpu_are_spread_by_their_numbers() {
        let spread = "echo 0 >/proc/irq/40/smp_affinity_list; echo 1 >/proc/irq/41/smp_affinity_list; \
                      echo 0 >/proc/irq/42/smp_affinity_list";
        assert_eq!(remedies(&link((3, 3), &["1", "1", "1"]), 2), [spread]);
        assert_eq!(remedies(&link((3, 3), &["0", "1", "1"]), 2), Vec::<String>::new());
        assert_eq!(remedies(&link((3, 3), &["0-3", "0-3"]), 4), Vec::<String>::new(), "the kernel chooses");
        assert_eq!(remedies(&link((2, 2), &["1"]), 2), Vec::<String>::new());
    }
}
