//! What the model lets pass, and what it does not.

use super::{super::world::tests::span, *};

const RULES: Rules = Rules {
    idle: 1_800,
    absolute: 14_400,
    heard_within: Duration::from_millis(100),
    settled_within: Duration::from_millis(2_500),
};

fn model() -> (Model, SessionId) {
    let mut model = Model::new(RULES);
    let session = model.signed_in(span(0, 50), (0, 0));
    (model, session)
}

fn asked(from: u64, until: u64, clock: u64, way: Way) -> Asked {
    Asked { span: span(from, until), clock: (clock, clock), way, what: Question::Look }
}

fn refused(reason: &str) -> Answer {
    Answer::Refused(reason.to_owned())
}

/// Exactly these answers are right.
#[track_caller]
fn only(model: &mut Model, session: SessionId, asked: &Asked, right: impl Into<Vec<Answer>>) {
    let right = right.into();
    let reasons = ["session_ended", "session_unknown", "session_idle", "session_expired", "no_session"];
    let plain = [Answer::Passed, Answer::StoreUnavailable, Answer::Nobody, Answer::Other(500, String::new())];
    for answer in plain.into_iter().chain(reasons.map(refused)) {
        assert_eq!(model.judge(session, asked, &answer).is_ok(), right.contains(&answer), "{answer:?}");
    }
}

#[test]
fn in_fair_weather_who_is_signed_in_passes_and_nothing_else_happens() {
    let (mut model, alice) = model();
    for way in [Way::Nginx, Way::Replica(0)] {
        only(&mut model, alice, &asked(60, 70, 0, way), [Answer::Passed]);
    }
    assert_eq!(model.tally.had_to_pass, 18);
}

#[test]
fn who_has_signed_out_is_refused_at_once_here_and_in_time_there() {
    let (mut model, alice) = model();
    model.ended(alice, span(100, 120), Way::Replica(0), Said::Done);
    let ended = refused("session_ended");
    only(&mut model, alice, &asked(60, 90, 0, Way::Replica(0)), [Answer::Passed]);
    only(&mut model, alice, &asked(60, 110, 0, Way::Replica(0)), [Answer::Passed, ended.clone()]);
    only(&mut model, alice, &asked(120, 125, 0, Way::Replica(0)), [ended.clone()]);
    only(&mut model, alice, &asked(219, 225, 0, Way::Replica(1)), [Answer::Passed, ended.clone()]);
    only(&mut model, alice, &asked(220, 225, 0, Way::Replica(1)), [ended.clone()]);
    only(&mut model, alice, &asked(220, 225, 0, Way::Nginx), [ended]);
}

#[test]
fn a_sign_out_that_the_store_missed_holds_there_once_it_was_made_good() {
    let (mut model, alice) = model();
    let millis = Duration::from_millis;
    model.world.falls_ill(Part::Store, millis(90));
    model.ended(alice, span(100, 120), Way::Replica(0), Said::Pending);
    model.world.is_well(Part::Store, millis(200));
    let ended = refused("session_ended");
    only(&mut model, alice, &asked(300, 310, 0, Way::Replica(0)), [ended.clone()]);
    only(&mut model, alice, &asked(300, 310, 0, Way::Replica(1)), [Answer::Passed, ended.clone()]);
    model.step_is_over(&[], millis(2_600), 0);
    only(&mut model, alice, &asked(2_900, 2_910, 0, Way::Replica(1)), [Answer::Passed, ended.clone()]);
    model.step_is_over(&[], millis(2_701), 0);
    only(&mut model, alice, &asked(2_900, 2_910, 0, Way::Replica(1)), [ended]);
}

#[test]
fn a_sign_out_that_died_with_its_gateway_may_have_been_or_not() {
    let (mut model, alice) = model();
    let millis = Duration::from_millis;
    model.world.falls_ill(Part::Store, millis(90));
    model.ended(alice, span(100, 120), Way::Replica(0), Said::Pending);
    model.world.falls_ill(Part::Replica(0), millis(130));
    model.world.is_well(Part::Store, millis(200));
    model.world.is_well(Part::Replica(0), millis(300));
    model.step_is_over(&[], millis(9_000), 0);
    let either = [Answer::Passed, refused("session_ended")];
    only(&mut model, alice, &asked(9_000, 9_010, 0, Way::Replica(0)), either.clone());
    let (mut model, bob) = self::model();
    model.ended(bob, span(100, 120), Way::Nginx, Said::Nothing);
    only(&mut model, bob, &asked(9_000, 9_010, 0, Way::Replica(0)), either.clone());
}

#[test]
fn a_word_that_may_be_lost_is_certain_once_the_store_is_well_again() {
    let (mut model, alice) = model();
    model.ended(alice, span(100, 120), Way::Replica(0), Said::Done);
    model.world.falls_ill(Part::Store, Duration::from_millis(130));
    let ended = refused("session_ended");
    let deaf = [Answer::Passed, Answer::StoreUnavailable, ended.clone()];
    only(&mut model, alice, &asked(1_000, 1_010, 0, Way::Replica(1)), deaf);
    only(&mut model, alice, &asked(1_000, 1_010, 0, Way::Replica(0)), [Answer::StoreUnavailable, ended.clone()]);
    model.world.is_well(Part::Store, Duration::from_secs(2));
    only(&mut model, alice, &asked(4_000, 4_010, 0, Way::Replica(1)), [ended]);
}

#[test]
fn sessions_end_by_the_clock_as_far_as_their_use_was_written() {
    let (mut model, alice) = model();
    let look = asked(60, 70, 900, Way::Replica(1));
    only(&mut model, alice, &asked(60, 70, 1_799, Way::Nginx), [Answer::Passed]);
    only(&mut model, alice, &asked(60, 70, 1_800, Way::Nginx), [refused("session_idle")]);
    model.used(alice, look, &Answer::Passed);
    model.step_is_over(&[alice], Duration::from_millis(80), 900);
    let either = [Answer::Passed, refused("session_idle")];
    only(&mut model, alice, &asked(90, 95, 1_800, Way::Nginx), either.clone());
    model.step_is_over(&[], Duration::from_millis(1_070), 900);
    only(&mut model, alice, &asked(1_080, 1_090, 2_519, Way::Nginx), [Answer::Passed]);
    only(&mut model, alice, &asked(1_080, 1_090, 2_520, Way::Nginx), either.clone());
    only(&mut model, alice, &asked(1_080, 1_090, 2_700, Way::Nginx), [refused("session_idle")]);
    model.used(alice, Asked { what: Question::Stay, ..asked(1_080, 1_090, 2_500, Way::Nginx) }, &Answer::Passed);
    only(&mut model, alice, &asked(1_100, 1_110, 4_299, Way::Nginx), [Answer::Passed]);
    let late = asked(1_100, 1_110, 14_400, Way::Nginx);
    only(&mut model, alice, &late, [refused("session_idle"), refused("session_expired")]);
}

#[test]
fn a_use_that_trouble_may_have_kept_from_being_written_is_not_counted_on() {
    let (mut model, alice) = model();
    model.world.falls_ill(Part::Replica(1), Duration::from_millis(500));
    model.used(alice, asked(60, 70, 900, Way::Replica(1)), &Answer::Passed);
    model.step_is_over(&[alice], Duration::from_secs(2), 900);
    let either = [Answer::Passed, refused("session_idle")];
    only(&mut model, alice, &asked(2_100, 2_110, 1_800, Way::Replica(0)), either.clone());
}

#[test]
fn after_a_flush_everybody_before_it_is_unknown() {
    let (mut model, alice) = model();
    model.world.is_flushed(span(100, 110));
    let bob = model.signed_in(span(105, 150), (0, 0));
    let carol = model.signed_in(span(110, 150), (0, 0));
    let unknown = refused("session_unknown");
    only(&mut model, alice, &asked(200, 210, 0, Way::Nginx), [Answer::Passed, unknown.clone()]);
    only(&mut model, alice, &asked(210, 220, 0, Way::Nginx), [unknown.clone()]);
    only(&mut model, bob, &asked(210, 220, 0, Way::Nginx), [Answer::Passed, unknown]);
    only(&mut model, carol, &asked(210, 220, 0, Way::Nginx), [Answer::Passed]);
}

#[test]
fn trouble_is_an_excuse_only_while_it_lasts() {
    let (mut model, alice) = model();
    let millis = Duration::from_millis;
    model.world.falls_ill(Part::Store, millis(100));
    model.world.is_well(Part::Store, millis(200));
    model.world.falls_ill(Part::Replica(1), millis(300));
    model.world.is_well(Part::Replica(1), millis(400));
    let troubled = [Answer::Passed, Answer::StoreUnavailable];
    only(&mut model, alice, &asked(190, 210, 0, Way::Nginx), troubled);
    only(&mut model, alice, &asked(200, 210, 0, Way::Nginx), [Answer::Passed]);
    only(&mut model, alice, &asked(310, 320, 0, Way::Replica(1)), [Answer::Passed, Answer::Nobody]);
    only(&mut model, alice, &asked(310, 320, 0, Way::Replica(0)), [Answer::Passed]);
    only(&mut model, alice, &asked(310, 320, 0, Way::Nginx), [Answer::Passed]);
    let stay = Asked { what: Question::Stay, ..asked(310, 320, 0, Way::Nginx) };
    only(&mut model, alice, &stay, [Answer::Passed, Answer::Nobody]);
}

#[test]
fn tokens_may_be_lost_in_a_storm_and_the_session_not() {
    let (mut model, alice) = model();
    let refresh = Asked { what: Question::Refresh, ..asked(60, 70, 0, Way::Nginx) };
    let lost = Answer::Other(400, "refresh_lost".to_owned());
    let absent = Answer::Other(503, "provider_unreachable".to_owned());
    assert!(model.judge(alice, &refresh, &lost).is_err() && model.judge(alice, &refresh, &absent).is_err());
    assert!(model.judge(alice, &refresh, &refused("refresh_rejected")).is_err(), "nobody is signed out");
    model.world.falls_ill(Part::Provider, Duration::from_millis(65));
    assert!(model.judge(alice, &refresh, &lost).is_ok() && model.judge(alice, &refresh, &absent).is_ok());
    assert!(model.judge(alice, &refresh, &refused("refresh_rejected")).is_err());
}

#[test]
fn tokens_may_be_lost_to_keys_that_change_too_often() {
    let (mut model, alice) = model();
    let refresh = |clock| Asked { what: Question::Refresh, ..asked(60, 70, clock, Way::Nginx) };
    let lost = Answer::Other(400, "refresh_lost".to_owned());
    model.world.provider_is_shaken(20);
    assert!(model.judge(alice, &refresh(500), &lost).is_ok(), "it may have been lost before");
    let bob = model.signed_in(span(0, 50), (81, 81));
    assert!(model.judge(bob, &refresh(500), &lost).is_err());
}

#[test]
fn whoever_is_signed_out_while_they_change_something_may_find_nothing_there() {
    let (mut model, alice) = model();
    let stay = Asked { what: Question::Stay, ..asked(60, 130, 0, Way::Nginx) };
    let unknown = refused("session_unknown");
    assert!(model.judge(alice, &stay, &unknown).is_err());
    model.ended(alice, span(100, 120), Way::Replica(0), Said::Done);
    assert!(model.judge(alice, &stay, &unknown).is_ok());
    assert!(model.judge(alice, &asked(60, 130, 0, Way::Nginx), &unknown).is_err(), "who only looks is told");
}

#[test]
fn a_cookie_that_nobody_was_given_is_refused_in_any_weather() {
    let mut model = Model::new(RULES);
    model.world.falls_ill(Part::Store, Duration::ZERO);
    let look = asked(60, 70, 0, Way::Replica(0));
    assert!(model.judge_stranger(&look, &refused("session_malformed"), "session_malformed").is_ok());
    for wrong in [Answer::Passed, Answer::StoreUnavailable, Answer::Nobody, refused("session_unknown")] {
        assert!(model.judge_stranger(&look, &wrong, "session_malformed").is_err());
    }
}

#[test]
fn sign_ins_fail_and_sign_outs_are_put_off_only_with_a_cause() {
    let (mut model, _) = model();
    let during = span(60, 70);
    assert!(!model.sign_in_may_fail(during, 100));
    assert!(model.sign_out_may_say(during, Way::Nginx, Said::Done));
    assert!(!model.sign_out_may_say(during, Way::Nginx, Said::Pending));
    assert!(!model.sign_out_may_say(during, Way::Nginx, Said::Nothing));
    model.world.falls_ill(Part::Store, Duration::ZERO);
    assert!(model.sign_in_may_fail(during, 100) && model.sign_out_may_say(during, Way::Nginx, Said::Pending));
    assert!(!model.sign_out_may_say(during, Way::Nginx, Said::Nothing));
    model.world.falls_ill(Part::Replica(1), Duration::ZERO);
    assert!(model.sign_out_may_say(during, Way::Nginx, Said::Nothing));
    assert!(!model.sign_out_may_say(during, Way::Replica(0), Said::Nothing));
}
