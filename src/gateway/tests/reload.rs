//! What a gateway by other settings knows of the one before it.

use super::*;
use crate::{
    config::fixture::{KEY, OTHER_KEY},
    seal::Farewell,
    telemetry::EndCause,
};

/// Settings whose keys are these.
fn keys(key: &str, new: Option<&str>, old: Option<&str>) -> Settings {
    let line = |name: &str, key: Option<&str>| key.map_or_else(String::new, |key| format!("{name} = '{key}'\n"));
    let keys = line("key", Some(key)) + &line("key_new", new) + &line("key_old", old);
    Settings::valid().with(&format!("[session]\n{keys}"))
}

impl Scene {
    /// Other settings take the place of these; gives the keys that open nothing any more.
    fn reload(&mut self, settings: Settings) -> Vec<Farewell> {
        let _guard = self.runtime.enter();
        let next = self.gateway.reloaded(settings.config().gateway).unwrap();
        let removed = next.take_over();
        self.gateway = next;
        removed
    }

    /// How often the store was asked something.
    fn counted(&self, operation: &str) -> String {
        let text = self.gateway.telemetry().metrics().text().unwrap();
        let line = text.lines().find(|line| line.contains("portcullis_store_operations") && line.contains(operation));
        line.unwrap_or_default().to_owned()
    }

    /// A session that lives: its cookie, and itself.
    fn living(&self) -> Minted {
        let minted = self.mint();
        self.store(*minted.handle.name(), sealed(&minted, minted.handle.name(), Version::FIRST));
        assert_eq!(self.shown(&minted.cookie), StatusCode::OK);
        minted
    }
}

#[test]
fn sessions_go_on_under_other_keys_until_theirs_is_gone() {
    let mut scene = Scene::with(keys(KEY, None, None), &Clock::manual(NOW));
    let first = scene.living();
    let key = scene.gateway.keeper.ring().sealing().farewell();
    assert_eq!(scene.reload(keys(KEY, Some(OTHER_KEY), None)), []);
    assert_eq!(scene.reload(keys(OTHER_KEY, None, Some(KEY))), []);
    let second = scene.living();
    assert_eq!(scene.shown(&first.cookie), StatusCode::OK);
    assert_eq!(scene.reload(keys(OTHER_KEY, None, None)), [key]);
    assert_eq!(scene.shown(&first.cookie), StatusCode::UNAUTHORIZED, "though it was opened a moment ago");
    assert_eq!(scene.shown(&second.cookie), StatusCode::OK);
}

#[test]
fn a_key_that_another_gateway_gave_up_opens_nothing_at_once_and_after_a_reload() {
    let mut scene = Scene::with(keys(KEY, None, None), &Clock::manual(NOW));
    let (first, old) = (scene.living(), scene.gateway.keeper.ring().sealing().farewell());
    assert!(!scene.gateway.retire(&old), "it seals here");
    assert_eq!(scene.shown(&first.cookie), StatusCode::OK);
    scene.reload(keys(OTHER_KEY, None, Some(KEY)));
    assert_eq!(scene.shown(&first.cookie), StatusCode::OK);
    assert!(scene.gateway.retire(&old) && !scene.gateway.retire(&old));
    assert_eq!(scene.shown(&first.cookie), StatusCode::UNAUTHORIZED);
    assert_eq!(scene.reload(keys(OTHER_KEY, None, Some(KEY))), []);
    assert_eq!(scene.shown(&first.cookie), StatusCode::UNAUTHORIZED, "the settings name it still");
    assert!(scene.gateway.telemetry().metrics().text().unwrap().contains("portcullis_keys_retired_total 1\n"));
}

#[test]
fn an_ending_is_known_behind_a_reload_whatever_the_store_knows() {
    let mut scene = Scene::new();
    let ended = scene.living();
    let until = NOW.plus(std::time::Duration::from_secs(3_600));
    scene.runtime.block_on(scene.gateway.keeper.end(&ended.handle, until, EndCause::Logout));
    scene.reload(Settings::valid().with("[session]\nidle_timeout = '20m'"));
    let answer = scene.answer("?policy=staff", stated(&ended.cookie));
    assert_eq!(answer.headers()["x-portcullis-reason"], "session_ended");
    let before = scene.counted("was_ended");
    scene.shown(&ended.cookie);
    assert_eq!(scene.counted("was_ended"), before, "the store was not even asked");
}

#[test]
fn other_policies_decide_about_sessions_that_are_kept() {
    let mut scene = Scene::new();
    let minted = scene.living();
    let policies = |group: &str| format!("[policy.staff]\nrules = [{{ allow = true, groups = ['{group}'] }}]");
    scene.reload(Settings::valid().with(&policies("nobody")));
    assert_eq!(scene.shown(&minted.cookie), StatusCode::FORBIDDEN);
    scene.reload(Settings::valid().with(&policies("staff")));
    assert_eq!(scene.shown(&minted.cookie), StatusCode::OK);
    scene.reload(Settings::valid().with("[identity]\nclaims = { X-Auth-Request-Who = 'sub' }"));
    let answer = scene.answer("?policy=staff", stated(&minted.cookie));
    assert_eq!((answer.status(), answer.headers().contains_key("x-auth-request-who")), (StatusCode::OK, true));
}
