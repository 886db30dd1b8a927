//! Plans of which most stays.

use super::*;
use crate::plan::kept::Stale;

/// Services `s1` to `s3`, each with a backend of its own and one that all have.
fn config() -> Config {
    let service = |n: u8| {
        format!(
            "[[service]]\nname = \"s{n}\"\naddress = \"203.0.113.{n}\"\nport = 80\nprotocol = \"tcp\"\n\
             forwarding = \"ipip\"\nslots = 499\ndown_grace = \"10s\"\n\
             [[service.backend]]\nname = \"own\"\naddress = \"192.0.2.{n}\"\n\
             [[service.backend]]\nname = \"common\"\naddress = \"192.0.2.99\"\n"
        )
    };
    let text =
        "[balancer]\ninterfaces = [\"eth0\"]\nlocation = \"eu.ams.dc1\"\n[defaults.probe]\ntype = \"tcp\"\n";
    let services: String = (1..=3).map(service).collect();
    Config::parse("sluice.toml", &format!("{text}{services}")).unwrap().0
}

fn full(config: &Config, view: &View, now: Duration) -> Plan {
    plan(config, view, &mut Tables::default(), now)
}

/// The services of `before` that stay, where a plan for what is by now follows it; it has to be that of everything anew.
fn staying(before: &Plan, config: &Config, view: &View, stale: &Stale, now: Duration) -> Vec<String> {
    let kept = Kept::of(before, config, stale, now);
    let after = plan_others(config, view, &mut Tables::default(), &kept, now);
    assert_eq!(after, full(config, view, now));
    kept.services().flatten().map(|planned| planned.name.clone()).collect()
}

#[test]
fn service_stays_as_planned_unless_what_it_follows_from_has_changed() {
    let config = config();
    let world = view(&config);
    let before = full(&config, &world, NOW);
    let now = NOW + Duration::from_secs(1);
    let stays = |config: &Config, view: &View, mark: &dyn Fn(&mut Stale)| {
        let mut stale = Stale::default();
        mark(&mut stale);
        staying(&before, config, view, &stale, now)
    };
    assert_eq!(stays(&config, &world, &|_| {}), ["s1", "s2", "s3"]);

    let mut down = world.clone();
    let backend = &config.services[1].backends[1];
    let target = config.services[1].probe_target(backend).unwrap();
    let verdict = Verdict { target, health: Health::Down, since: NOW };
    down.health.insert(TargetKey { service: "s2".to_owned(), backend: backend.name.clone() }, verdict);
    assert_eq!(stays(&config, &down, &|stale| stale.service("s2")), ["s1", "s3"]);

    for (address, expected) in [("192.0.2.3", &["s1", "s2"][..]), ("192.0.2.99", &[])] {
        let (mut lost, address) = (world.clone(), address.parse().unwrap());
        lost.next_hops.remove(&address);
        assert_eq!(stays(&config, &lost, &|stale| stale.address(address)), expected);
    }

    let mut other = config.clone();
    Arc::make_mut(&mut other.services[0]).backends[0].weight = 2;
    assert_eq!(stays(&other, &world, &|_| {}), ["s2", "s3"]);
    other.services.remove(1);
    assert_eq!(stays(&other, &world, &|_| {}), ["s3"]);
    let mut moved = config.clone();
    moved.balancer.location = None;
    assert_eq!(stays(&moved, &world, &|_| {}), [""; 0]);
    assert_eq!(stays(&config, &world, &Stale::everything), [""; 0]);
}

#[test]
fn service_changes_by_itself_when_its_time_has_come() {
    let config = config();
    let mut world = view(&config);
    let target = config.services[2].probe_target(&config.services[2].backends[0]).unwrap();
    let key = TargetKey { service: "s3".to_owned(), backend: config.services[2].backends[0].name.clone() };
    world.health.insert(key, Verdict { target, health: Health::Down, since: NOW });
    let before = full(&config, &world, NOW);
    let at = |seconds| {
        let now = NOW + Duration::from_secs(seconds);
        staying(&before, &config, &world, &Stale::default(), now)
    };
    assert_eq!(
        (at(9), at(10)),
        (["s1", "s2", "s3"].map(str::to_owned).into(), ["s1", "s2"].map(str::to_owned).into())
    );
}

#[test]
fn who_takes_flows_of_a_service_that_stays_is_who_did() {
    let mut config = config();
    for service in &mut config.services {
        Arc::make_mut(service).sharing.slow_start = Duration::from_secs(40);
    }
    let mut world = view(&config);
    world.started.look(taking(&config, &world, &Kept::nothing(&config), NOW), NOW);
    let before = full(&config, &world, NOW);
    let mut stale = Stale::default();
    stale.service("s1");
    let kept = Kept::of(&before, &config, &stale, NOW);
    let takers = taking(&config, &world, &kept, NOW);
    let is_shared = |name: &str| Arc::ptr_eq(&takers[name], world.started.takers(name).unwrap());
    assert_eq!(["s1", "s2", "s3"].map(is_shared), [false, true, true]);
    assert_eq!(takers, taking(&config, &world, &Kept::nothing(&config), NOW));
}
