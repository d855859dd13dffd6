//! Where a browser asks to be sent back to. Input: the target.

#![no_main]

use std::sync::LazyLock;

use libfuzzer_sys::fuzz_target;
use portcullis::{
    oidc::transaction::{RETURN_TO_BYTES, Transaction},
    origin::{ReturnTarget, Site},
    pages::Link,
};
use portcullis_fuzz::{is_at_home, site};

static SITE: LazyLock<Site> = LazyLock::new(site);

fuzz_target!(|data: &[u8]| {
    let Ok(wanted) = str::from_utf8(data) else { return };
    let target = SITE.return_target(Some(wanted));
    stays(&target);
    // What a transaction keeps of it is asked for again when the person comes back.
    let kept = Transaction::kept(&target, &SITE);
    assert!(kept.len() <= RETURN_TO_BYTES);
    stays(&SITE.return_target(Some(&kept)));
    // So is what the link of a sign-in on another host carries.
    if wanted.starts_with('/') {
        stays(&SITE.return_target(Some(&SITE.url_on("wiki.example.com", wanted))));
    }
    let link = Link::local(wanted).to_string();
    assert!(
        link.starts_with('/') && is_at_home(SITE.page("/").join(&link).expect("a path of ours").as_str()),
        "{link}"
    );
});

/// The origin is ours or listed, and the text can stand in a `Location`.
fn stays(target: &ReturnTarget) {
    let (url, text) = (target.url(), target.url().as_str());
    assert!(is_at_home(text), "{text}");
    assert!(url.username().is_empty() && url.password().is_none(), "{text}");
    assert!(text.bytes().all(|byte| byte.is_ascii_graphic()), "{text}");
}
