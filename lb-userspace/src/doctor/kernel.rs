//! What the kernel has, and this process may do.

use super::{Facts, Finding};
use crate::{
    config::{Config, Via},
    daemon::is_old_kernel,
};

/// Clocks that are read without asking a device.
const FAST_CLOCKS: [&str; 5] = ["tsc", "kvm-clock", "hyperv_clocksource_tsc_page", "arch_sys_counter", "xen"];

pub(super) fn check(facts: &Facts) -> Vec<Finding> {
    let mut findings = Vec::new();
    if is_old_kernel(&facts.kernel) {
        let found = format!("Linux {} is too old: Sluice needs 5.15 or later", facts.kernel);
        findings.push(Finding::problem("kernel", found));
    }
    if !facts.bpf_fs {
        let finding =
            Finding::hint("bpf", "no BPF file system is mounted; `sluice run` mounts it where it may");
        findings.push(finding.remedy("mount -t bpf bpf /sys/fs/bpf"));
    }
    if !facts.btf {
        let found =
            "the kernel has no type information of its own (CONFIG_DEBUG_INFO_BTF): maps may be refused";
        findings.push(Finding::problem("kernel", found));
    }
    if facts.number("core/bpf_jit_enable") == Some(0) {
        let found = "BPF programs are interpreted, at several times the cost per packet";
        findings.push(Finding::problem("bpf", found).remedy("sysctl -w net.core.bpf_jit_enable=1"));
    }
    if !facts.missing_capabilities.is_empty() {
        let missing = facts.missing_capabilities.join(", ");
        let remedy = "setcap cap_net_admin,cap_bpf,cap_perfmon+ep $(command -v sluice)";
        findings.push(Finding::problem("capabilities", format!("missing {missing}")).remedy(remedy));
    }
    if facts.clock_synchronised == Some(false) {
        let found =
            "the clock is set by nobody: histories and those of other balancers will not fit together";
        findings.push(Finding::hint("clock", found).remedy("timedatectl set-ntp true"));
    }
    if let Some(source) = facts.clock_source.as_deref().filter(|source| !FAST_CLOCKS.contains(source)) {
        findings.push(Finding::hint(
            "clock",
            format!("it is read from {source}, which is slow for every packet that asks"),
        ));
    }
    if let (Some(count), Some(most)) =
        (facts.number("netfilter/nf_conntrack_count"), facts.number("netfilter/nf_conntrack_max"))
        && u64::from(count) * 10 >= u64::from(most) * 9
    {
        let found = format!("the kernel tracks {count} of at most {most} connections, and drops the others");
        let remedy = format!("sysctl -w net.netfilter.nf_conntrack_max={}", u64::from(most) * 2);
        findings.push(Finding::problem("conntrack", found).remedy(remedy));
    }
    findings
}

/// What a daemon asks of the kernel beyond that.
pub(super) fn check_daemon(config: &Config, facts: &Facts) -> Vec<Finding> {
    let mut findings = Vec::new();
    if facts.grace_periods == Some(false) {
        let found = "grace periods cannot be waited for (membarrier refuses, as with `nohz_full` on the kernel's command line): \
                     each change waits for 200 ms instead";
        findings.push(Finding::hint("kernel", found));
    }
    let by_path =
        |service: &crate::config::Service| service.probe.as_ref().is_some_and(|probe| probe.via == Via::Path);
    if facts.egress_programs == Some(false) && config.services.iter().any(|service| by_path(service)) {
        let found = "no program can be attached where packets leave (CONFIG_NET_CLS_ACT, CONFIG_NET_SCH_INGRESS), as probes by \
                     the path of traffic need it; `via = \"direct\"` in their table does without";
        findings.push(Finding::problem("kernel", found));
    }
    findings
}

#[cfg(test)]
mod tests {
    use super::*;

    fn good() -> Facts {
        Facts { kernel: "6.18.1".to_owned(), bpf_fs: true, btf: true, ..Facts::default() }
    }

    fn with(key: &str, value: &str) -> Facts {
        Facts { settings: [(key.to_owned(), value.to_owned())].into(), ..good() }
    }

    #[test]
    fn what_a_daemon_needs_of_the_kernel_is_asked_where_it_is_needed() {
        let config = |probe: &str| {
            let text = format!(
                "[balancer]\ninterfaces = [\"eth0\"]\n[[service]]\nname = \"web\"\naddress = \"203.0.113.10\"\nport = 80\n\
                 protocol = \"tcp\"\nforwarding = \"l2\"\nprobe = {{ {probe} }}\n[[service.backend]]\nname = \"b1\"\n\
                 address = \"192.0.2.11\"\n"
            );
            Config::parse("sluice.toml", &text).unwrap().0
        };
        let found = |probe: &str, facts: &Facts| check_daemon(&config(probe), facts).len();
        let without = Facts { egress_programs: Some(false), ..good() };
        assert_eq!(found("type = \"tcp\"", &without), 1);
        assert_eq!(found("type = \"tcp\", via = \"direct\"", &without), 0);
        assert_eq!(found("type = \"tcp\"", &Facts { egress_programs: Some(true), ..good() }), 0);
        assert_eq!(found("type = \"none\"", &Facts { grace_periods: Some(false), ..good() }), 1);
        assert_eq!(found("type = \"none\"", &good()), 0);
    }

    #[test]
    fn each_finding_has_its_fact() {
        let full = Facts {
            settings: [("netfilter/nf_conntrack_count", "95"), ("netfilter/nf_conntrack_max", "100")]
                .map(|(key, value)| (key.to_owned(), value.to_owned()))
                .into(),
            ..good()
        };
        let cases = [
            (Facts { kernel: "5.4.0".to_owned(), ..good() }, "kernel"),
            (Facts { bpf_fs: false, ..good() }, "bpf"),
            (Facts { btf: false, ..good() }, "kernel"),
            (with("core/bpf_jit_enable", "0"), "bpf"),
            (Facts { missing_capabilities: vec!["CAP_BPF".to_owned()], ..good() }, "capabilities"),
            (Facts { clock_synchronised: Some(false), ..good() }, "clock"),
            (Facts { clock_source: Some("hpet".to_owned()), ..good() }, "clock"),
            (full, "conntrack"),
        ];
        for (facts, subject) in cases {
            let findings = check(&facts);
            assert_eq!(findings.iter().map(|f| f.subject.as_str()).collect::<Vec<_>>(), [subject]);
        }
        assert_eq!(check(&good()), []);
        assert_eq!(
            check(&Facts { clock_source: Some("tsc".to_owned()), ..with("core/bpf_jit_enable", "1") }),
            []
        );
    }
}
