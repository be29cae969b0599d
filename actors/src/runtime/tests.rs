//! The runtime with real sockets and modules that misbehave.

use std::future::Future;
use std::sync::atomic::AtomicUsize;

use libvalvula::{Answer, Client, Endpoint, Request, Text, Verdict};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::*;
use crate::module::{Decision, Unavailable};
use crate::runtime_settings::OnFailure;

const SECOND: Duration = Duration::from_secs(1);

fn quiet() -> Logger {
    Logger::root(slog::Discard, o!())
}

fn run(test: impl Future<Output = ()>) {
    actix_rt::System::new().block_on(async {
        timeout(60 * SECOND, test).await.expect("the test ends");
    });
}

fn listener(name: &str, modules: &[&str]) -> ListenerSettings {
    ListenerSettings::new(name, "127.0.0.1:0".parse().expect("an address"), modules)
}

/// Refuses, panics, sleeps or is unavailable as the recipient says; counts what it was asked.
fn marked(name: &str) -> (ReadyModule, Arc<AtomicUsize>) {
    let asked = Arc::new(AtomicUsize::new(0));
    let count = asked.clone();
    let module = ReadyModule::from_fn(name, move |query| {
        count.fetch_add(1, Ordering::Relaxed);
        match query.recipient_key().local_part() {
            b"refuse" => Decide::Now(Ok(Some(Decision::new(Verdict::reject(Text::new("no")), "asked to")))),
            b"panic" => panic!("asked for by the test"),
            b"panic-later" => Decide::soon(async {
                tokio::task::yield_now().await;
                panic!("asked for by the test")
            }),
            b"unavailable" => Decide::Now(Err(Unavailable::new("the database is away"))),
            b"slow" => Decide::soon(async {
                sleep(Duration::from_millis(100)).await;
                Ok(None)
            }),
            b"hang" => Decide::soon(std::future::pending()),
            _ => Decide::DUNNO,
        }
    });
    (module, asked)
}

async fn serve(listeners: Vec<ListenerSettings>, modules: Vec<ReadyModule>) -> (Runtime, Vec<Endpoint>) {
    let runtime = Runtime::start(2, "test", &quiet()).await.expect("starts");
    let bound: Vec<_> = listeners.iter().map(|listener| Bound::new(listener).expect("binds")).collect();
    let endpoints = bound.iter().map(|bound| bound.endpoint().clone()).collect();
    runtime.serve(listeners, modules, bound).await.expect("listens");
    (runtime, endpoints)
}

async fn client(endpoint: &Endpoint) -> Client {
    Client::connect(endpoint, 10 * SECOND).await.expect("connects")
}

async fn ask_for(client: &mut Client, recipient: &str) -> String {
    let request = Request::builder().recipient(format!("{recipient}@example.com")).build().expect("a request");
    action(&client.ask(&request).await.expect("an answer"))
}

fn action(answer: &Answer) -> String {
    answer.to_string()
}

fn tcp(endpoint: &Endpoint) -> std::net::SocketAddr {
    match endpoint {
        Endpoint::Tcp(address) => *address,
        Endpoint::Unix(_) => unreachable!("these tests listen on TCP"),
    }
}

#[test]
fn the_first_module_with_an_opinion_wins_and_all_are_counted() {
    run(async {
        let ((first, first_asked), (second, second_asked)) = (marked("first"), marked("second"));
        let (runtime, at) =
            serve(vec![listener("a", &["first", "second"]), listener("b", &[])], vec![first, second]).await;
        let (mut a, mut b) = (client(&at[0]).await, client(&at[1]).await);
        assert_eq!(ask_for(&mut a, "refuse").await, "REJECT no");
        assert_eq!(ask_for(&mut a, "ann").await, "DUNNO");
        assert_eq!(ask_for(&mut b, "refuse").await, "DUNNO");
        assert_eq!((first_asked.load(Ordering::Relaxed), second_asked.load(Ordering::Relaxed)), (2, 1));
        let report = runtime.report().await;
        assert_eq!((report.requests.count, report.connections, report.pending), (3, 2, 0));
        assert_eq!(report.requests.actions["REJECT"], 1);
        assert_eq!(report.listeners[0].requests.count, 2);
        assert_eq!(report.modules[0].requests.actions["DUNNO"], 1);
        assert_eq!(report.modules[1].requests.count, 1);
        assert_eq!(runtime.stop(SECOND).await, 0);
    });
}

#[test]
fn every_way_to_fail_is_counted_and_answered_by_on_failure() {
    run(async {
        let mut modules = Vec::new();
        for (name, on_failure) in
            [("dunno", OnFailure::Dunno), ("defer", OnFailure::Defer), ("disconnect", OnFailure::Disconnect)]
        {
            let (mut module, _) = marked(name);
            module.settings.on_failure = on_failure;
            module.settings.deadline = Duration::from_millis(50);
            modules.push(module);
        }
        let listeners = ["dunno", "defer", "disconnect"].map(|name| listener(name, &[name])).into();
        let (runtime, at) = serve(listeners, modules).await;
        for (recipient, kind) in
            [("panic", "crashed"), ("panic-later", "crashed"), ("unavailable", "unavailable"), ("hang", "timed_out")]
        {
            assert_eq!(ask_for(&mut client(&at[0]).await, recipient).await, "DUNNO", "{recipient}");
            let deferred = ask_for(&mut client(&at[1]).await, recipient).await;
            assert!(deferred.starts_with("DEFER 4.3.0 "), "{recipient}: {deferred}");
            let request = Request::builder().recipient(format!("{recipient}@x")).build().expect("a request");
            assert!(client(&at[2]).await.ask(&request).await.is_err(), "{recipient}: no answer");
            let report = runtime.report().await;
            assert!(report.modules.iter().all(|module| module.failures[kind] > 0), "{kind}: {report:#?}");
        }
        let report = runtime.report().await;
        assert_eq!(report.listeners[2].disconnects, 4);
        assert_eq!(report.modules[0].failures.values().sum::<u64>(), 4);
        runtime.stop(SECOND).await;
    });
}

#[test]
fn past_its_intensity_a_module_is_down_and_its_neighbours_answer() {
    run(async {
        let ((mut bad, asked), (good, _)) = (marked("bad"), marked("good"));
        bad.settings.on_failure = OnFailure::Defer;
        let (runtime, at) = serve(vec![listener("a", &["bad"]), listener("b", &["good"])], vec![bad, good]).await;
        let mut neighbour = client(&at[1]).await;
        // One connection stays with one worker, so one replica takes all the crashes.
        let mut client = client(&at[0]).await;
        for _ in 0..6 {
            assert!(ask_for(&mut client, "panic").await.starts_with("DEFER"));
            assert_eq!(ask_for(&mut neighbour, "ann").await, "DUNNO");
        }
        // The supervisor has polled the last crash before it takes the next message.
        assert!(ask_for(&mut client, "ann").await.starts_with("DEFER"));
        assert_eq!(asked.load(Ordering::Relaxed), 6, "a module that is down is not asked");
        let report = runtime.report().await;
        assert_eq!(report.modules[0].failures["crashed"], 7);
        let mut states = report.modules[0].states.clone();
        states.sort();
        assert_eq!(states, ["down", "up"]);
        runtime.stop(SECOND).await;
    });
}

#[test]
fn what_a_module_holds_is_bounded_and_the_rest_is_overloaded() {
    run(async {
        let (mut slow, _) = marked("slow");
        slow.settings.max_in_flight = 4;
        slow.settings.on_failure = OnFailure::Defer;
        let (runtime, at) = serve(vec![listener("a", &["slow"])], vec![slow]).await;
        let mut clients = Vec::new();
        for _ in 0..100 {
            clients.push(client(&at[0]).await);
        }
        let answers = futures_util::future::join_all(clients.iter_mut().map(|client| ask_for(client, "slow"))).await;
        let passed = answers.iter().filter(|answer| *answer == "DUNNO").count();
        let report = runtime.report().await;
        let module = &report.modules[0];
        assert!(module.in_flight_peak <= 4, "{}", module.in_flight_peak);
        assert_eq!(module.failures["overloaded"] as usize, 100 - passed);
        assert!(passed >= 8, "two workers hold four each: {passed}");
        runtime.stop(SECOND).await;
    });
}

#[test]
fn an_observed_module_is_counted_and_has_no_say() {
    run(async {
        let (mut module, _) = marked("watched");
        module.settings.observe = true;
        let (runtime, at) = serve(vec![listener("a", &["watched"])], vec![module]).await;
        assert_eq!(ask_for(&mut client(&at[0]).await, "refuse").await, "DUNNO");
        assert_eq!(runtime.report().await.modules[0].would_have["REJECT"], 1);
        runtime.stop(SECOND).await;
    });
}

#[test]
fn a_half_close_and_a_hundred_pipelined_requests_are_answered_in_order() {
    run(async {
        let (module, _) = marked("m");
        let (runtime, at) = serve(vec![listener("a", &["m"])], vec![module]).await;
        let mut stream = TcpStream::connect(tcp(&at[0])).await.expect("connects");
        let mut text = String::new();
        for n in 0..100 {
            let name = if n % 3 == 0 { "refuse" } else { "slow" };
            text += &format!("request=smtpd_access_policy\nrecipient={name}@example.com\n\n");
        }
        stream.write_all(text.as_bytes()).await.expect("written");
        stream.shutdown().await.expect("half closed");
        let mut answers = String::new();
        stream.read_to_string(&mut answers).await.expect("read");
        let expected: String =
            (0..100).map(|n| if n % 3 == 0 { "action=REJECT no\n\n" } else { "action=DUNNO\n\n" }).collect();
        assert_eq!(answers, expected);
        runtime.stop(SECOND).await;
    });
}

#[test]
fn half_a_request_is_ended_after_its_limit_and_an_idle_connection_is_not() {
    run(async {
        let mut settings = listener("a", &[]);
        settings.request_timeout = Duration::from_millis(200);
        let (runtime, at) = serve(vec![settings], vec![]).await;
        let mut idle = client(&at[0]).await;
        let mut half = TcpStream::connect(tcp(&at[0])).await.expect("connects");
        half.write_all(b"request=smtpd_access_policy\nsender=").await.expect("written");
        let mut nothing = Vec::new();
        half.read_to_end(&mut nothing).await.expect("closed");
        assert!(nothing.is_empty());
        assert_eq!(ask_for(&mut idle, "ann").await, "DUNNO");
        let report = runtime.report().await;
        assert_eq!(report.listeners[0].ended["request_timeout"], 1);
        runtime.stop(SECOND).await;
    });
}

#[test]
fn past_the_limit_of_connections_the_next_one_waits_for_a_place() {
    run(async {
        let mut settings = listener("a", &[]);
        settings.max_connections = 2;
        let (runtime, at) = serve(vec![settings], vec![]).await;
        let (mut one, mut two) = (client(&at[0]).await, client(&at[0]).await);
        ask_for(&mut one, "ann").await;
        ask_for(&mut two, "ann").await;
        let mut three = client(&at[0]).await;
        assert!(timeout(Duration::from_millis(200), ask_for(&mut three, "ann")).await.is_err(), "waits in the kernel");
        assert_eq!(runtime.report().await.connections, 2);
        drop(one);
        // The request above is still in the kernel and is answered first.
        let request = Request::builder().build().expect("a request");
        assert!(timeout(10 * SECOND, three.ask(&request)).await.expect("in time").is_ok());
        runtime.stop(SECOND).await;
    });
}

#[test]
fn suspended_a_port_takes_no_connection_and_resumed_it_takes_those_that_waited() {
    run(async {
        let (runtime, at) = serve(vec![listener("a", &[])], vec![]).await;
        let mut before = client(&at[0]).await;
        ask_for(&mut before, "ann").await;
        runtime.suspend("a").expect("there is one");
        assert_eq!(ask_for(&mut before, "ann").await, "DUNNO", "open connections go on");
        let mut after = client(&at[0]).await;
        let request = Request::builder().build().expect("a request");
        let waiting = after.ask(&request);
        tokio::pin!(waiting);
        assert!(timeout(Duration::from_millis(200), &mut waiting).await.is_err());
        assert_eq!(runtime.report().await.listeners[0].state, "suspended");
        runtime.resume("a").expect("there is one");
        assert!(waiting.await.is_ok());
        let unknown = runtime.suspend("b").expect_err("there is none").to_string();
        assert_eq!(unknown, "no listener is called \"b\"; there are: a");
        runtime.stop(SECOND).await;
    });
}

#[test]
fn a_restarted_port_finishes_what_it_has_in_hand_and_its_neighbour_notices_nothing() {
    run(async {
        let (module, _) = marked("m");
        let (runtime, at) = serve(vec![listener("a", &["m"]), listener("b", &["m"])], vec![module]).await;
        let (mut a, mut b) = (client(&at[0]).await, client(&at[1]).await);
        ask_for(&mut b, "ann").await;
        let slow = Request::builder().recipient("slow@example.com").build().expect("a request");
        let in_hand = async { a.ask(&slow).await.map(|answer| action(&answer)) };
        let restart = async {
            while runtime.report().await.pending == 0 {
                tokio::task::yield_now().await;
            }
            runtime.restart("a").expect("there is one");
        };
        let (answer, ()) = tokio::join!(in_hand, restart);
        assert_eq!(answer.expect("answered"), "DUNNO");
        assert!(a.ask(&slow).await.is_err(), "then the connection ended");
        assert_eq!(ask_for(&mut client(&at[0]).await, "refuse").await, "REJECT no", "and a new one is served");
        assert_eq!(ask_for(&mut b, "ann").await, "DUNNO", "the neighbour's connection is the same");
        assert_eq!(runtime.report().await.listeners[0].restarts, 1);
        runtime.stop(SECOND).await;
    });
}

#[test]
fn a_module_restarted_under_load_loses_no_request() {
    run(async {
        let (module, _) = marked("m");
        let (runtime, at) = serve(vec![listener("a", &["m"])], vec![module]).await;
        let mut clients = Vec::new();
        for _ in 0..20 {
            clients.push(client(&at[0]).await);
        }
        let load = futures_util::future::join_all(clients.iter_mut().map(|client| async {
            for _ in 0..10 {
                assert_eq!(ask_for(client, "slow").await, "DUNNO");
                assert_eq!(ask_for(client, "refuse").await, "REJECT no");
            }
        }));
        let restarts = async {
            for _ in 0..20 {
                assert_eq!(runtime.restart("mod-m"), Ok(Restarted::Module));
                sleep(Duration::from_millis(20)).await;
            }
        };
        tokio::join!(load, restarts);
        let report = runtime.report().await;
        assert!(report.modules[0].failures.is_empty(), "{:?}", report.modules[0].failures);
        assert_eq!(report.requests.count, 400);
        runtime.stop(SECOND).await;
    });
}

#[test]
fn a_reload_keeps_the_connections_of_a_listener_that_stays_and_ends_those_of_one_that_goes() {
    run(async {
        let (module, _) = marked("m");
        let (stays, goes) = (listener("stays", &[]), listener("goes", &["m"]));
        let (runtime, at) = serve(vec![stays.clone(), goes], vec![module]).await;
        let (mut one, mut two) = (client(&at[0]).await, client(&at[1]).await);
        assert_eq!(ask_for(&mut one, "refuse").await, "DUNNO");
        ask_for(&mut two, "ann").await;
        let (module, _) = marked("m");
        let new = listener("new", &[]);
        let bound = Bound::new(&new).expect("binds");
        let new_at = bound.endpoint().clone();
        let changed = ListenerSettings { modules: vec!["m".into()], ..stays };
        assert!(runtime.is_served(&changed));
        runtime.serve(vec![changed, new], vec![module], vec![bound]).await.expect("reloads");
        assert_eq!(ask_for(&mut one, "refuse").await, "REJECT no", "the same connection, the new chain");
        let request = Request::builder().build().expect("a request");
        assert!(two.ask(&request).await.is_err());
        assert_eq!(ask_for(&mut client(&new_at).await, "refuse").await, "DUNNO");
        assert!(Client::connect(&at[1], SECOND).await.is_err(), "nobody listens there any more");
        runtime.stop(SECOND).await;
    });
}

#[test]
fn stopping_answers_what_was_read() {
    run(async {
        let (module, _) = marked("m");
        let (runtime, at) = serve(vec![listener("a", &["m"])], vec![module]).await;
        let mut clients = Vec::new();
        for _ in 0..10 {
            clients.push(client(&at[0]).await);
        }
        let slow = Request::builder().recipient("slow@example.com").build().expect("a request");
        let load = futures_util::future::join_all(clients.iter_mut().map(|client| client.ask(&slow)));
        let stop = async {
            while runtime.report().await.pending < 10 {
                tokio::task::yield_now().await;
            }
            runtime.stop(5 * SECOND).await
        };
        let (answers, left) = tokio::join!(load, stop);
        assert!(answers.iter().all(Result::is_ok), "{answers:?}");
        assert_eq!(left, 0);
    });
}
