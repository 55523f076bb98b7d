//! What programs do with threads, by Rust's standard library: channels, locks, sleeping, panics, many one after the other.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Barrier, Condvar, Mutex, RwLock, mpsc};
use std::thread;
use std::time::{Duration, Instant};

const THREADS: u64 = 4;

fn main() {
    channels();
    locks();
    sleep();
    panic();
    condition();
    more_than_there_are();
    one_after_the_other();
    std::process::exit(42);
}

fn channels() {
    let (sender, receiver) = mpsc::channel();
    let threads: Vec<_> = (0..THREADS)
        .map(|thread| {
            let sender = sender.clone();
            thread::spawn(move || (0..200).for_each(|n| sender.send((thread, n)).unwrap()))
        })
        .collect();
    drop(sender);
    let mut last: HashMap<u64, i32> = HashMap::new();
    for (thread, n) in receiver {
        assert_eq!(last.insert(thread, n), n.checked_sub(1).filter(|n| *n >= 0), "in order");
    }
    assert_eq!(last.len() as u64, THREADS);
    threads.into_iter().for_each(|thread| thread.join().unwrap());
}

fn locks() {
    let map = Mutex::new(HashMap::new());
    let total = AtomicU64::new(0);
    let seen = RwLock::new(0);
    let together = Barrier::new(4);
    thread::scope(|scope| {
        for thread in 0..THREADS {
            let (map, total, seen, together) = (&map, &total, &seen, &together);
            scope.spawn(move || {
                together.wait();
                for n in 0..500 {
                    *map.lock().unwrap().entry(n % 7).or_insert(0) += 1;
                    total.fetch_add(n, Ordering::Relaxed);
                    if n % 50 == 0 {
                        *seen.write().unwrap() += thread;
                    } else {
                        let _ = *seen.read().unwrap();
                    }
                }
            });
        }
    });
    assert_eq!(map.into_inner().unwrap().values().sum::<u64>(), THREADS * 500);
    assert_eq!(total.into_inner(), THREADS * (0..500).sum::<u64>());
    assert_eq!(seen.into_inner().unwrap(), 10 * (0..THREADS).sum::<u64>());
}

fn sleep() {
    let start = Instant::now();
    let sleeper = thread::spawn(move || {
        thread::sleep(Duration::from_millis(20));
        start.elapsed()
    });
    // Not before its time: that it is not long after, nobody promises.
    assert!(sleeper.join().unwrap() >= Duration::from_millis(20));
    let start = Instant::now();
    let pair = (Mutex::new(()), Condvar::new());
    let (_guard, over) = pair.1.wait_timeout(pair.0.lock().unwrap(), Duration::from_millis(20)).unwrap();
    assert!(over.timed_out() && start.elapsed() >= Duration::from_millis(20));
    let (_sender, receiver) = mpsc::channel::<()>();
    assert_eq!(receiver.recv_timeout(Duration::from_millis(10)), Err(mpsc::RecvTimeoutError::Timeout));
}

fn panic() {
    let poisoned = Arc::new(Mutex::new(1));
    let theirs = Arc::clone(&poisoned);
    let thread = thread::Builder::new().name("panics".to_owned()).spawn(move || {
        let _guard = theirs.lock().unwrap();
        let empty: Vec<u32> = Vec::new();
        empty[theirs.is_poisoned() as usize]
    });
    let panic = thread.unwrap().join().unwrap_err();
    assert!(panic.downcast_ref::<String>().unwrap().contains("out of bounds"));
    assert!(poisoned.lock().is_err());
}

fn condition() {
    let state = Arc::new((Mutex::new(0_u32), Condvar::new()));
    let threads: Vec<_> = (0..3)
        .map(|turn| {
            let state = Arc::clone(&state);
            thread::spawn(move || {
                for round in 0..50 {
                    let mut now = state.0.lock().unwrap();
                    while *now != round * 3 + turn {
                        now = state.1.wait(now).unwrap();
                    }
                    *now += 1;
                    state.1.notify_all();
                }
            })
        })
        .collect();
    threads.into_iter().for_each(|thread| thread.join().unwrap());
    assert_eq!(*state.0.lock().unwrap(), 150);
}

/// A thread too many is an error; when one has ended there is room again.
fn more_than_there_are() {
    let stop = Arc::new((Mutex::new(false), Condvar::new()));
    let mut threads = Vec::new();
    let refused = loop {
        let theirs = Arc::clone(&stop);
        let wait = move || {
            let mut stopped = theirs.0.lock().unwrap();
            while !*stopped {
                stopped = theirs.1.wait(stopped).unwrap();
            }
        };
        match thread::Builder::new().stack_size(64 << 10).spawn(wait) {
            Ok(thread) => threads.push(thread),
            Err(error) => break error,
        }
        assert!(threads.len() < 100);
    };
    assert_eq!(refused.kind(), std::io::ErrorKind::WouldBlock);
    assert_eq!(threads.len(), 15, "sixteen with this one");
    *stop.0.lock().unwrap() = true;
    stop.1.notify_all();
    threads.into_iter().for_each(|thread| thread.join().unwrap());
    assert_eq!(thread::spawn(|| 7).join().unwrap(), 7);
}

/// Each has what is its own, and nothing of the one that was there before.
fn one_after_the_other() {
    thread_local!(static OWN: std::cell::Cell<u64> = const { std::cell::Cell::new(5) });
    for n in 0..100 {
        let was = thread::spawn(move || OWN.replace(n)).join().unwrap();
        assert_eq!(was, 5);
    }
}
