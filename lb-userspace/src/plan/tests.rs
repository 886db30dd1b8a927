//! Entries that follow from wishes, health and time.

mod kept;
mod rollout;

use lb_common::backend::Forwarding;

use super::*;
use crate::wishes::Order;

const NOW: Duration = Duration::from_secs(1000);

fn config(keys: &str) -> Config {
    let service = format!(
        "name = \"web\"\naddress = \"203.0.113.10\"\nport = 80\nprotocol = \"tcp\"\nforwarding = \"l2\"\nslots = 499\n{keys}"
    );
    let backends =
        (1..=3).map(|n| format!("[[service.backend]]\nname = \"b{n}\"\naddress = \"192.0.2.1{n}\"\n"));
    let text = format!(
        "[balancer]\ninterfaces = [\"eth0\"]\n[[service]]\n{service}\n[service.probe]\n{}",
        backends.collect::<String>()
    );
    Config::parse("sluice.toml", &text).unwrap().0
}

/// A world in which every backend can be reached.
pub(crate) fn view(config: &Config) -> View {
    let next_hop = |address| NextHop {
        ifindex: 2,
        interface: "eth0".to_owned(),
        mac: [2, 0, 0, 0, 0, 1],
        source_mac: [2, 0, 0, 0, 0, 2],
        source: address,
        mtu: 1500,
        vlan: 0,
        gateway: None,
    };
    let backends = config.services.iter().flat_map(|service| &service.backends);
    let addresses = backends.map(|backend| backend.address);
    View {
        next_hops: addresses.map(|address| (address, Arc::new(next_hop(address)))).collect(),
        ..View::default()
    }
}

fn planned(config: &Config, view: &View, now: Duration) -> (PlannedService, Option<Duration>) {
    let mut plan = plan(config, view, &mut Tables::default(), now);
    (Arc::unwrap_or_clone(plan.services.remove(0)), plan.next_change)
}

fn drain(view: &mut View, config: &Config, backend: &str) {
    let target = TargetKey { service: "web".to_owned(), backend: backend.to_owned() };
    let order = Order { state: AdminState::Drain, deadline: None, on_deadline: None };
    view.wishes.obey(config, &target, order, NOW).unwrap();
}

#[test]
fn drained_backend_has_no_slots_and_keeps_its_flows_until_its_deadline() {
    let config = config("drain_deadline = \"1m\"\non_deadline = \"reset\"");
    let mut view = view(&config);
    drain(&mut view, &config, "b2");
    let (service, next) = planned(&config, &view, NOW);
    assert_eq!((service.table.shares()[1], next), (0, Some(NOW + Duration::from_mins(1))));
    assert_eq!((service.backends[1].takes_new, service.backends[1].old_flows), (0, OldFlows::Keep as u8));

    let (service, next) = planned(&config, &view, NOW + Duration::from_mins(1));
    assert_eq!((service.backends[1].old_flows, next), (OldFlows::Reset as u8, None));
}

#[test]
fn narrow_way_is_what_a_tunnels_entry_says_until_the_router_is_believed_no_more() {
    for (mode, learned) in [("ipip", 1400), ("gue", 1400), ("l2", 1500)] {
        let mut config = config("");
        let forwarding = match mode {
            "ipip" => crate::config::Forwarding::Ipip,
            "gue" => crate::config::Forwarding::Gue,
            _ => crate::config::Forwarding::L2,
        };
        Arc::make_mut(&mut config.services[0])
            .backends
            .iter_mut()
            .for_each(|backend| backend.forwarding = forwarding);
        let mut view = view(&config);
        view.path_mtus.learn("192.0.2.12".parse().unwrap(), 1400, NOW);
        let mtus =
            |service: &PlannedService| service.backends.iter().map(|entry| entry.mtu).collect::<Vec<_>>();
        let (service, next) = planned(&config, &view, NOW);
        assert_eq!(mtus(&service), [1500, learned, 1500], "{mode}");
        let end = NOW + crate::path_mtu::AGE;
        assert_eq!(next, (learned == 1400).then_some(end), "{mode}");
        let (service, next) = planned(&config, &view, end);
        assert_eq!((mtus(&service), next), (vec![1500; 3], None), "{mode}");
    }
}

#[test]
fn leaving_backend_is_no_member_and_has_an_entry_of_its_own() {
    let before = config("");
    let mut after = before.clone();
    let gone = Arc::make_mut(&mut after.services[0]).backends.remove(1);
    let mut view = view(&before);
    view.wishes.release(&before, &after, NOW);
    view.wishes.follow(None, &after, NOW);
    let (service, _) = planned(&after, &view, NOW);
    let [leaving] = service.leaving[..] else { panic!("{:?}", service.leaving) };
    assert_eq!((service.backends.len(), service.table.shares().len()), (2, 2));
    assert_eq!((IpAddr::from(leaving.address), leaving.takes_new), (gone.address, 0));
    assert_eq!((leaving.forwarding, leaving.old_flows), (Forwarding::L2 as u8, OldFlows::Keep as u8));
    assert_eq!(service.table.digest(), planned(&after, &self::view(&after), NOW).0.table.digest());
}

#[test]
fn leaving_backend_that_is_down_gives_up_its_flows_after_the_grace() {
    let before = config("down_grace = \"10s\"\non_down = \"reset\"");
    let mut after = before.clone();
    let gone = Arc::make_mut(&mut after.services[0]).backends.remove(1);
    let mut view = view(&before);
    view.wishes.release(&before, &after, NOW);
    let target = (gone.address, 80).into();
    let key = TargetKey { service: "web".to_owned(), backend: "b2".to_owned() };
    view.health.insert(key, Verdict { target, health: Health::Down, since: NOW });
    let ends = NOW + Duration::from_secs(10);
    let (service, next) = planned(&after, &view, NOW);
    assert_eq!((service.leaving[0].old_flows, next), (OldFlows::Keep as u8, Some(ends)));
    assert_eq!(planned(&after, &view, ends).0.leaving[0].old_flows, OldFlows::Reset as u8);
}

#[test]
fn backend_that_is_dropped_gives_up_its_flows_at_once() {
    let before = config("on_remove = \"drop\"");
    let mut after = before.clone();
    Arc::make_mut(&mut after.services[0]).backends.remove(0);
    let mut view = view(&before);
    view.wishes.release(&before, &after, NOW);
    let (service, next) = planned(&after, &view, NOW);
    assert_eq!((service.leaving[0].old_flows, next), (OldFlows::Move as u8, None));
}

#[test]
fn backend_that_asks_for_less_gets_less() {
    let mut config = config("");
    let mut probe = Arc::make_mut(&mut config.services[0]).probe.take().unwrap();
    probe.check = Arc::new(crate::config::Check::Agent { send: Vec::new() });
    Arc::make_mut(&mut config.services[0]).probe = Some(probe);
    let mut view = view(&config);
    let mut says = |backend: &str, line: &str| {
        let target = config.services[0].backends.iter().find(|b| b.name == backend).unwrap().address;
        let mut advice = Advice::default();
        advice.hear(&crate::health::agent::Remark::parse(line).unwrap());
        let key = TargetKey { service: "web".to_owned(), backend: backend.to_owned() };
        view.advice.insert(key, Advised { target: (target, 80).into(), advice });
        planned(&config, &view, NOW).0
    };
    let equal = says("b1", "100%").table.shares().to_vec();
    assert!(equal.iter().all(|share| (165..=168).contains(share)), "{equal:?}");
    let halved = says("b1", "50%").table.shares().to_vec();
    assert!((99..=101).contains(&halved[0]), "{halved:?}");
    let drained = says("b2", "drain");
    assert_eq!((drained.table.shares()[1], drained.backends[1].takes_new), (0, 0));
    assert_eq!(drained.backends[1].old_flows, OldFlows::Keep as u8);
    let maintained = says("b2", "maint");
    assert_eq!(maintained.backends[1].old_flows, OldFlows::Move as u8);
    assert_eq!(says("b3", "0%").table.shares()[2], 0);
    let heavy = says("b1", "10000%").table.shares().to_vec();
    assert!(heavy[0] > 480 && heavy.iter().sum::<u32>() == 499, "{heavy:?}");
}

#[test]
fn affinity_is_planned() {
    let config = config("affinity = { ipv4 = 24 }");
    assert_eq!(planned(&config, &view(&config), NOW).0.source_bits, 24);
}

/// A world in which probes have called these backends of `web` down, each since that moment.
fn down(config: &Config, fallen: &[(&str, Duration)]) -> View {
    let mut view = view(config);
    for &(backend, since) in fallen {
        let address = config.services[0].backends.iter().find(|b| b.name == backend).unwrap().address;
        let key = TargetKey { service: "web".to_owned(), backend: backend.to_owned() };
        view.health.insert(key, Verdict { target: (address, 80).into(), health: Health::Down, since });
    }
    view
}

#[test]
fn backends_whose_probes_are_not_believed_keep_old_flows_and_get_new_ones() {
    let fallen = ["b1", "b2", "b3"].map(|backend| (backend, NOW));
    let late = NOW + Duration::from_hours(1);
    let open = config("");
    let (service, next) = planned(&open, &down(&open, &fallen), late);
    let healthy = planned(&open, &view(&open), NOW).0;
    assert_eq!((service.table.digest(), next), (healthy.table.digest(), None));
    for entry in &service.backends {
        assert_eq!((entry.takes_new, entry.old_flows), (1, OldFlows::Keep as u8));
        assert_eq!(entry.health, lb_common::backend::Health::Down as u8, "what they say is kept");
    }
    let closed = config("all_down = \"closed\"");
    let (service, _) = planned(&closed, &down(&closed, &fallen), late);
    assert_eq!(service.table.shares(), [0; 3]);
    assert!(service.backends.iter().all(|entry| entry.old_flows == OldFlows::Move as u8));
}

#[test]
fn backend_that_is_out_of_reach_gets_nothing_and_others_do() {
    let config = config("");
    let mut view = view(&config);
    view.next_hops.remove(&config.services[0].backends[0].address);
    let (service, _) = planned(&config, &view, NOW);
    assert_eq!((service.table.shares()[0], service.backends[0].takes_new), (0, 0));
    assert!(service.shares.availability.is_available());
}

#[test]
fn place_of_the_balancer_chooses_between_tables() {
    let text = |own: &str| {
        let backend = |n: u8, place: &str| {
            format!(
                "[[service.backend]]\nname = \"b{n}\"\naddress = \"192.0.2.1{n}\"\nlocation = \"{place}\"\n"
            )
        };
        format!(
            "[balancer]\ninterfaces = [\"eth0\"]\nlocation = \"{own}\"\n[[service]]\nname = \"web\"\naddress = \"203.0.113.10\"\n\
             port = 80\nprotocol = \"tcp\"\nforwarding = \"l2\"\nslots = 499\nscope = \"region\"\nprefer = \"near\"\n\
             [service.probe]\n{}{}{}{}",
            backend(1, "eu.ams.dc1"),
            backend(2, "eu.ams.dc1.rack2"),
            backend(3, "eu.fra.dc1"),
            backend(4, "us.nyc.dc1"),
        )
    };
    let at = |own: &str| {
        let config = Config::parse("sluice.toml", &text(own)).unwrap().0;
        planned(&config, &view(&config), NOW).0.table
    };
    let has = |table: &Table| table.shares().iter().map(|&share| share > 0).collect::<Vec<_>>();
    assert_eq!(has(&at("eu.ams.dc1")), [true, true, false, false]);
    assert_eq!(has(&at("eu.fra.dc9")), [false, false, true, false]);
    assert_eq!(has(&at("us.sfo.dc1")), [false, false, false, true]);
    assert_eq!(at("eu.ams.dc1.rack1").digest(), at("eu.ams.dc1.rack7").digest());
    assert_ne!(at("eu.ams.dc1").digest(), at("eu.fra.dc1").digest());
}

#[test]
fn start_begins_where_somebody_takes_flows_who_did_not() {
    let config = config("slow_start = \"40s\"");
    let mut world = down(&config, &[("b2", NOW)]);
    world.started.look(taking(&config, &world, &Kept::nothing(&config), NOW), NOW);
    let up = view(&config);
    world.health = up.health;
    let later = NOW + Duration::from_secs(100);
    world.started.look(taking(&config, &world, &Kept::nothing(&config), later), later);
    let (service, next) = planned(&config, &world, later);
    assert_eq!(service.shares.steps, [None, Some(1), None]);
    // A fifth beside two wholes, of 499 slots.
    assert!((44..=46).contains(&service.table.shares()[1]), "{:?}", service.table.shares());
    assert_eq!(next, Some(later + Duration::from_secs(10)));
    let (service, next) = planned(&config, &world, later + Duration::from_secs(40));
    assert_eq!((service.shares.steps, next), (vec![], None));
    drain(&mut world, &config, "b1");
    world.started.look(taking(&config, &world, &Kept::nothing(&config), later), later);
    assert_eq!(world.started.all().len(), 1, "who drains has not begun");
}
