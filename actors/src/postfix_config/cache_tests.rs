//! What is believed, for how long, and how much of it is kept.

use super::*;

const SETTINGS: CacheSettings = CacheSettings {
    entries: 3200,
    positive: Duration::from_secs(300),
    negative: Duration::from_secs(60),
    stale: Duration::from_secs(3600),
    retry: Duration::from_secs(1),
    patience: Duration::from_secs(1),
};

const YES: Answer<bool> = Ok(true);
const NO: Answer<bool> = Ok(false);

fn cache() -> (Cache<bool>, Instant) {
    (Cache::new(SETTINGS), Instant::now())
}

fn away() -> Answer<bool> {
    Err("the server is down".into())
}

fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

#[test]
fn an_answer_lives_as_long_as_was_said() {
    let (cache, start) = cache();
    let _ = cache.learn(b"a", YES, seconds(300), 0, start);
    assert_eq!(cache.look_up(b"a", start + seconds(299)), Found::Fresh(YES));
    assert_eq!(cache.look_up(b"a", start + seconds(300)), Found::Ask(Some(true)));
    assert_eq!(cache.look_up(b"other", start), Found::Ask(None));
}

#[test]
fn the_last_known_answer_serves_while_the_source_is_away_and_then_it_could_not_be_asked() {
    let (cache, start) = cache();
    let _ = cache.learn(b"a", YES, seconds(300), 0, start);
    assert_eq!(cache.learn(b"a", away(), seconds(300), 0, start + seconds(400)), YES);
    let serves = |ask| Found::Stale { known: true, ask };
    assert_eq!(cache.look_up(b"a", start + seconds(400)), serves(false), "nobody asks again so soon");
    assert_eq!(cache.look_up(b"a", start + seconds(402)), serves(true), "one asks, and does not wait");
    assert_eq!(cache.look_up(b"a", start + seconds(402)), serves(false), "the next one does not ask too");
    assert_eq!(cache.look_up(b"a", start + seconds(900)), Found::Ask(Some(true)), "the failure is long ago");
    assert_eq!(cache.learn(b"a", away(), seconds(300), 0, start + seconds(1000)), YES);
    assert_eq!(cache.learn(b"a", away(), seconds(300), 0, start + seconds(4000)), away(), "too old to serve");
}

#[test]
fn what_was_never_answered_is_never_a_no() {
    let (cache, start) = cache();
    assert_eq!(cache.learn(b"a", away(), seconds(300), 0, start), away());
    assert_eq!(cache.look_up(b"a", start), Found::Fresh(away()));
    assert_eq!(cache.look_up(b"a", start + seconds(1)), Found::Ask(None));
}

#[test]
fn memory_is_bounded_and_what_is_used_stays() {
    let (cache, start) = cache();
    let _ = cache.learn(b"used", YES, seconds(300), 0, start);
    for n in 0..20_000 {
        let _ = cache.learn(format!("once{n}").as_bytes(), NO, seconds(300), 0, start);
        assert_eq!(cache.look_up(b"used", start), Found::Fresh(YES), "after {n}");
    }
    assert!(cache.len() <= SETTINGS.entries, "{}", cache.len());
}

#[test]
fn an_answer_asked_for_before_a_change_is_not_kept_after_it() {
    let (cache, start) = cache();
    let epoch = cache.epoch();
    cache.expire(start);
    assert_eq!(cache.learn(b"a", NO, seconds(60), epoch, start), NO);
    assert_eq!(cache.look_up(b"a", start), Found::Ask(None));
}

#[test]
fn after_a_change_all_is_asked_again_but_still_serves_if_that_fails() {
    let (cache, start) = cache();
    let _ = cache.learn(b"a", YES, seconds(300), 0, start);
    cache.expire(start);
    assert_eq!(cache.look_up(b"a", start), Found::Ask(Some(true)));
    assert_eq!(cache.learn(b"a", away(), seconds(300), cache.epoch(), start), YES);
}

#[test]
fn long_names_take_the_room_of_several() {
    let (cache, start) = cache();
    for n in 0..2_000 {
        let _ = cache.learn(format!("{n:>2000}").as_bytes(), NO, seconds(300), 0, start);
    }
    assert!(cache.len() * 2000 <= SETTINGS.entries * USUAL_NAME, "{}", cache.len());
    assert!(cache.len() > 50, "{}", cache.len());
    assert_eq!(cache.look_up(format!("{:>2000}", 1_999).as_bytes(), start), Found::Fresh(NO));
}

#[test]
fn an_answer_that_comes_back_from_the_old_generation_is_found() {
    let settings = CacheSettings { entries: 2 * SHARDS, ..SETTINGS };
    let (cache, start) = (Cache::new(settings), Instant::now());
    for _ in 0..3 {
        let _ = cache.learn(b"a", YES, seconds(300), 0, start);
        assert_eq!(cache.look_up(b"a", start), Found::Fresh(YES));
    }
}
