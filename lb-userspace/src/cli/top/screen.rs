//! The terminal: taken over whole, and given back however this ends; or a frame as text.

use std::{io::Stdout, sync::mpsc::Sender, thread};

use anyhow::{Context as _, Result};
use ratatui::{
    Frame, Terminal,
    backend::{CrosstermBackend, TestBackend},
    buffer::Buffer,
    crossterm::{event, terminal},
};

use super::Event;

/// What a terminal has that does not say.
const USUAL: (u16, u16) = (100, 32);

/// The terminal while it is ours. Dropping it gives it back, and so does a panic of any thread.
pub(super) struct Screen(Terminal<CrosstermBackend<Stdout>>);

impl Screen {
    /// Takes the terminal over. Keys and changes of its size become events from then on.
    pub(super) fn open(events: Sender<Event>) -> Result<Self> {
        let terminal = ratatui::try_init().context("cannot take the terminal over")?;
        thread::Builder::new().name("keys".to_owned()).spawn(move || listen(&events))?;
        Ok(Self(terminal))
    }

    /// Draws what differs from the frame before.
    pub(super) fn draw(&mut self, frame: impl FnOnce(&mut Frame<'_>)) -> Result<()> {
        self.0.draw(frame).map(drop).context("cannot draw on the terminal")
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        ratatui::restore();
    }
}

/// Until nobody listens, or the terminal is gone.
fn listen(events: &Sender<Event>) {
    loop {
        let event = match event::read() {
            Ok(event::Event::Key(key)) if key.is_press() => Event::Key(key),
            Ok(event::Event::Resize(..)) => Event::Resized,
            Ok(_) => continue,
            Err(_) => Event::End,
        };
        let ends = matches!(event, Event::End);
        if events.send(event).is_err() || ends {
            return;
        }
    }
}

/// Columns and lines of the terminal, or usual ones.
pub(super) fn size() -> (u16, u16) {
    terminal::size().ok().filter(|(columns, lines)| *columns > 0 && *lines > 0).unwrap_or(USUAL)
}

/// A frame as text, without spaces at the ends of lines.
pub(super) fn text(columns: u16, lines: u16, frame: impl FnOnce(&mut Frame<'_>)) -> Result<String> {
    let mut terminal = Terminal::new(TestBackend::new(columns, lines))?;
    terminal.draw(frame)?;
    Ok(lines_of(terminal.backend().buffer()))
}

fn lines_of(buffer: &Buffer) -> String {
    let rows = buffer.content.chunks(usize::from(buffer.area.width));
    let row =
        |cells: &[ratatui::buffer::Cell]| cells.iter().map(ratatui::buffer::Cell::symbol).collect::<String>();
    let lines: Vec<_> = rows.map(|cells| row(cells).trim_end().to_owned()).collect();
    lines.join("\n").trim_end().to_owned()
}
