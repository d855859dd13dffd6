//! Looks at every page in a real Chromium: writes its picture and says what is wrong with it. Run by `scripts/shots`.

#![expect(clippy::print_stdout, reason = "a command's findings go to the terminal")]

mod browser;
mod faults;
mod forms;
mod gallery;
mod server;

use std::path::{Path, PathBuf};

use anyhow::{Context, ensure};

use browser::{Browser, SCREENS, Screen};
use server::{Exhibit, Server};

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let wanted: Vec<String> = std::env::args().skip(1).collect();
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let provider = Server::start(vec![forms::provider_page()], None).await?;
    let mut exhibits = gallery::exhibits(&root.join("nginx/pages"), provider.url())?;
    let picked = pick(&exhibits, &wanted)?;
    exhibits.push(gallery::unnamed(provider.url()));
    exhibits.extend(faults::exhibits(provider.url()));
    let site = Server::start(exhibits, Some(provider.url().join("/signed-out-there")?)).await?;

    let browser = Browser::start().await?;
    let outcome = look(&browser, &site, &provider, &picked, &root.join("shots")).await;
    browser.quit().await?;
    let problems = outcome?;
    for problem in &problems {
        println!("  {problem}");
    }
    ensure!(problems.is_empty(), "{} problems", problems.len());
    println!("shots: {} pages on {} screens, nothing wrong", picked.len(), SCREENS.len());
    Ok(())
}

/// The names to look at: all, or those asked for.
fn pick(exhibits: &[Exhibit], wanted: &[String]) -> anyhow::Result<Vec<&'static str>> {
    let names: Vec<_> = exhibits.iter().map(|exhibit| exhibit.name).collect();
    for name in wanted {
        ensure!(names.contains(&name.as_str()), "no page {name}; there are {}", names.join(", "));
    }
    let asked_for = |name: &&str| wanted.is_empty() || wanted.iter().any(|wanted| wanted == name);
    Ok(names.into_iter().filter(asked_for).collect())
}

async fn look(
    browser: &Browser,
    site: &Server,
    provider: &Server,
    names: &[&str],
    folder: &Path,
) -> anyhow::Result<Vec<String>> {
    std::fs::create_dir_all(folder).with_context(|| format!("cannot make {}", folder.display()))?;
    let mut problems = faults::unnoticed(browser, site).await?;
    for screen in SCREENS {
        browser.become_screen(screen).await?;
        for name in names {
            let found = browser.look_at(&site.page(name)?, screen).await?;
            problems.extend(found.iter().map(|problem| format!("{name}, {screen}: {problem}")));
            let file = picture(folder, name, screen);
            std::fs::write(&file, browser.picture(screen).await?)
                .with_context(|| format!("cannot write {}", file.display()))?;
        }
    }
    problems.extend(forms::problems(browser, site, provider).await?);
    Ok(problems)
}

fn picture(folder: &Path, name: &str, screen: &Screen) -> PathBuf {
    folder.join(format!("{name}-{screen}.png"))
}
