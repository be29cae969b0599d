use super::*;
use slog::{Logger, info, o};
use std::io;
use std::sync::mpsc;

const SOON: Duration = Duration::from_secs(20);

/// A target that shows what it was given, and waits at a gate before each line.
struct Gated {
    written: mpsc::Sender<String>,
    gate: Arc<Mutex<()>>,
    broken: Arc<Mutex<bool>>,
}

impl Target for Gated {
    fn write(&mut self, line: &Line<'_>) -> Result<(), Lost> {
        let _open = self.gate.lock().unwrap();
        if *self.broken.lock().unwrap() {
            return Err(io::Error::other("broken").into());
        }
        let mut text = String::new();
        line.write_body(&mut text);
        Ok(self.written.send(text).map_err(io::Error::other)?)
    }
}

struct Rig {
    queue: Queue,
    log: Logger,
    written: mpsc::Receiver<String>,
    gate: Arc<Mutex<()>>,
    broken: Arc<Mutex<bool>>,
}

fn rig(length: usize) -> Rig {
    let (to, written) = mpsc::channel();
    let (gate, broken) = (Arc::default(), Arc::default());
    let target = Gated { written: to, gate: Arc::clone(&gate), broken: Arc::clone(&broken) };
    let queue = Queue::with_length(Box::new(target), length).unwrap();
    let log = Logger::root(queue.clone(), o!("component" => "test"));
    Rig { queue, log, written, gate, broken }
}

#[test]
fn values_of_the_logger_come_first_then_those_of_the_line_in_the_order_given() {
    let rig = rig(8);
    info!(rig.log.new(o!("inner" => 1)), "verdict"; "a" => "x", "b" => 2, "c" => %"y z");
    assert_eq!(rig.written.recv_timeout(SOON).unwrap(), "verdict component=test inner=1 a=x b=2 c=\"y z\"");
}

#[test]
fn a_target_that_hangs_holds_up_nobody_and_the_loss_is_reported() {
    let rig = rig(4);
    let shut = rig.gate.lock().unwrap();
    for number in 0..100 {
        info!(rig.log, "line"; "number" => number);
    }
    assert!(!rig.queue.flush(Duration::from_millis(10)), "nothing can have been written");
    drop(shut);
    assert!(rig.queue.flush(SOON));
    let written: Vec<_> = rig.written.try_iter().collect();
    let reported: usize = written
        .iter()
        .filter_map(|line| line.strip_prefix("log lines were dropped count="))
        .map(|count| count.parse::<usize>().unwrap())
        .sum();
    let lines = written.iter().filter(|line| line.starts_with("line ")).count();
    assert_eq!(lines + reported, 100, "{written:#?}");
    assert!(lines < 100);
}

#[test]
fn lines_that_a_target_refused_are_reported_when_it_works_again() {
    let rig = rig(8);
    *rig.broken.lock().unwrap() = true;
    info!(rig.log, "one");
    info!(rig.log, "two");
    assert!(rig.queue.flush(SOON));
    *rig.broken.lock().unwrap() = false;
    info!(rig.log, "three");
    assert!(rig.queue.flush(SOON));
    let written: Vec<_> = rig.written.try_iter().collect();
    assert_eq!(written, ["three component=test", "log lines were dropped count=2"]);
}

#[test]
fn a_replaced_target_gets_the_later_lines() {
    let rig = rig(8);
    info!(rig.log, "one");
    assert!(rig.queue.flush(SOON));
    let (to, written) = mpsc::channel();
    rig.queue.replace(Box::new(Gated { written: to, gate: Arc::default(), broken: Arc::default() }));
    assert!(rig.queue.flush(SOON));
    info!(rig.log, "two");
    assert_eq!(written.recv_timeout(SOON).unwrap(), "two component=test");
    assert_eq!(rig.written.try_iter().count(), 1);
}

#[test]
fn a_panicking_caller_and_a_closed_queue_do_no_harm() {
    let rig = rig(1);
    let log = rig.log.clone();
    assert!(
        std::panic::catch_unwind(move || info!(log, "x"; "v" => slog::FnValue(|_| -> u8 { panic!("no") }))).is_err()
    );
    info!(rig.log, "still there");
    assert_eq!(rig.written.recv_timeout(SOON).unwrap(), "still there component=test");
}
