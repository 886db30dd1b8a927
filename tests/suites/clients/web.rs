//! curl against nginx: in the clear, and over TLS by the server's certificate.

use lb_tests::{
    client::{Answers, fetch, fetch_url},
    topology::{Depth, Routed},
};

use crate::{
    certificate::Certificate,
    mode::{Case, Mode},
    scene::{Scene, translating},
};

const REQUESTS: usize = 60;

#[test]
fn requests_are_answered_by_every_backend() {
    let network = Routed::new(Depth::Near, 3).unwrap();
    let services = Case::all().map(|case| case.service(80, &network.backends)).collect();
    let scene = Scene::start(&network, services);
    for case in Case::all() {
        let answers = fetch(&network.client.netns, case.at(80), REQUESTS).unwrap();
        assert_all_answer(case, &answers);
    }
    counts_agree(&scene, 80);
}

#[test]
fn tls_server_is_known_by_its_certificate() {
    let network = Routed::new(Depth::Near, 3).unwrap();
    let services = Case::all().map(|case| case.service(443, &network.backends)).collect();
    let certificate = Certificate::new("web.example");
    let scene = Scene::serving(&network, services, &certificate.nginx_server());
    let client = &network.client.netns;
    for case in Case::all() {
        let to = format!("web.example:443:{}", case.vip());
        let trusting = |authority| ["--cacert", authority, "--resolve", &to];
        let url = "https://web.example/";
        let answers = fetch_url(client, url, REQUESTS, &trusting(certificate.path())).unwrap();
        assert_all_answer(case, &answers);
        let stranger = Certificate::new("web.example");
        let refused = fetch_url(client, url, 1, &trusting(stranger.path())).unwrap();
        assert!(refused.failures[0].contains("certificate"), "{case:?}: {refused:?}");
    }
    counts_agree(&scene, 443);
}

/// The maps of sessions have no room before, and the program that runs knows none.
#[test]
fn nat_may_be_turned_on_by_a_reload() {
    let network = Routed::new(Depth::Near, 3).unwrap();
    let services = |modes: &[Mode]| Case::of(modes).map(|case| case.service(80, &network.backends)).collect();
    let mut scene = Scene::without_nat(&network, services(&[Mode::L2]));
    scene.config.balancer = translating();
    scene.config.services = services(&[Mode::L2, Mode::Nat]);
    scene.reload("the services behind nat to be ready", |status| {
        status.is_ready() && status.services.len() == Case::of(&[Mode::L2, Mode::Nat]).count()
    });
    for case in Case::of(&[Mode::L2, Mode::Nat]) {
        let answers = fetch(&network.client.netns, case.at(80), REQUESTS).unwrap();
        assert_all_answer(case, &answers);
    }
    scene.dropped_nothing_but(&[]);
}

fn assert_all_answer(case: Case, answers: &Answers) {
    assert_eq!(answers.failures, Vec::<String>::new(), "{case:?}");
    assert_eq!((answers.answered(), answers.by_backend.len()), (REQUESTS, 3), "{case:?}: {answers:?}");
}

/// Nothing was dropped, or forwarded uncounted: a connection has a SYN, a request and a FIN at least.
fn counts_agree(scene: &Scene<'_>, port: u16) {
    let status = scene.dropped_nothing_but(&[]);
    for case in Case::all() {
        let service = status.service(&case.service_name(port)).unwrap();
        assert!(service.packets >= 3 * REQUESTS as u64, "{service:?}");
        assert_eq!(service.packets, service.backends.iter().map(|backend| backend.packets).sum::<u64>());
    }
}
