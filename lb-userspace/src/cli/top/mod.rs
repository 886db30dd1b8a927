//! `sluice top`: what happens, as it happens, on a terminal.
//!
//! | module | what |
//! | --- | --- |
//! | `state` | what is known and looked at; pure, as are the next three |
//! | `weighing` | a weight while it is typed |
//! | `rates` | rates and their past, from the differences of counters |
//! | `keys` | what a key means |
//! | `draw` | a state as a frame |
//! | `source` | a thread that asks the daemon and passes orders on |
//! | `screen` | the terminal, which is given back however this ends |

mod draw;
mod keys;
mod rates;
mod screen;
mod source;
mod state;
mod weighing;

use std::{
    env,
    io::{IsTerminal as _, stdin, stdout},
    sync::mpsc,
    time::Duration,
};

use anyhow::{Context as _, Result, bail};
use humantime::parse_duration;

use self::{
    draw::Theme,
    screen::Screen,
    source::Source,
    state::{Effect, State},
};
use super::daemon::print;
use crate::admin::Endpoint;

/// The shortest time between two looks.
const SHORTEST: Duration = Duration::from_millis(100);

/// Arguments of `sluice top`.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(flatten)]
    endpoint: Endpoint,
    /// How often to look
    #[arg(long, value_name = "DURATION", default_value = "1s", value_parser = interval)]
    interval: Duration,
    /// Print one frame as text, with the rates of one interval, and end
    #[arg(long)]
    once: bool,
    /// Columns and lines of that frame, such as 120x40; those of the terminal where it is not said
    #[arg(long, value_name = "SIZE", requires = "once", value_parser = size)]
    size: Option<(u16, u16)>,
}

/// What happens to a running `sluice top`.
#[derive(Debug)]
enum Event {
    /// A key was pressed.
    Key(ratatui::crossterm::event::KeyEvent),
    /// The terminal has another size.
    Resized,
    /// The daemon, or its absence, has said something.
    Daemon(state::News),
    /// The process is asked to end.
    End,
}

/// Runs `sluice top`.
pub(super) fn run(args: &Args) -> Result<()> {
    let (sender, events) = mpsc::channel();
    let source = Source::start(args.endpoint.clone(), args.interval, sender.clone())?;
    if args.once {
        return once(args, &events);
    }
    if !stdin().is_terminal() || !stdout().is_terminal() {
        bail!(
            "`sluice top` needs a terminal; `sluice top --once` prints a frame, and `sluice status` everything"
        );
    }
    let mut screen = Screen::open(sender)?;
    let (mut state, theme) = (State::default(), Theme::of(env::var_os("NO_COLOR").as_deref()));
    loop {
        screen.draw(|frame| draw::draw(frame, &state, theme))?;
        let effect = match events.recv().context("nobody tells anything any more")? {
            Event::Key(key) => keys::action(key, state.mode()).and_then(|action| state.act(action)),
            Event::Resized => None,
            Event::Daemon(news) => {
                state.hear(news);
                None
            }
            Event::End => return Ok(()),
        };
        source.want_histories(state.is_inside());
        match effect {
            Some(Effect::Quit) => return Ok(()),
            Some(Effect::Send(order)) => source.send(order),
            None => {}
        }
    }
}

/// The frame after two looks. A daemon that does not answer is an error.
fn once(args: &Args, events: &mpsc::Receiver<Event>) -> Result<()> {
    let mut state = State::default();
    while !state.has_rates() {
        match events.recv().context("nobody tells anything any more")? {
            Event::Daemon(state::News::Lost(why)) => bail!("{why}"),
            Event::Daemon(news) => state.hear(news),
            Event::Key(_) | Event::Resized => {}
            Event::End => return Ok(()),
        }
    }
    let (columns, lines) = args.size.unwrap_or_else(screen::size);
    print(&screen::text(columns, lines, |frame| draw::draw(frame, &state, Theme::Plain))?)
}

fn interval(text: &str) -> Result<Duration, String> {
    let interval = parse_duration(text).map_err(|error| format!("{text:?} is no duration: {error}"))?;
    if interval < SHORTEST {
        return Err(format!("{text} is too short; expected at least 100ms"));
    }
    Ok(interval)
}

fn size(text: &str) -> Result<(u16, u16), String> {
    let numbers =
        text.split_once('x').and_then(|(columns, lines)| Some((columns.parse().ok()?, lines.parse().ok()?)));
    numbers.filter(|(columns, lines)| (40..=500).contains(columns) && (10..=500).contains(lines)).ok_or_else(
        || format!("{text:?} is no size; expected columns and lines from 40x10 to 500x500, such as 120x40"),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn size_is_columns_and_lines_within_bounds() {
        assert_eq!(size("120x40"), Ok((120, 40)));
        for bad in ["120", "120x", "x40", "39x40", "120x9", "501x40", "a x b"] {
            assert!(size(bad).unwrap_err().contains("such as 120x40"), "{bad}");
        }
    }

    #[test]
    fn interval_has_a_least_length() {
        assert_eq!(interval("2s"), Ok(Duration::from_secs(2)));
        assert!(interval("1ms").unwrap_err().contains("at least 100ms"));
        assert!(interval("often").unwrap_err().contains("no duration"));
    }
}
