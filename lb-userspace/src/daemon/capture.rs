//! The program that shows packets takes the place of the one that balances, and gives it back.

use anyhow::Result;
use tracing::{error, info};

use super::{BeginCapture, EndCapture, Owner, interfaces::Attachments};
use crate::causes::with_causes;

impl Owner<'_> {
    /// Has every packet meet the program that shows some.
    pub(super) async fn begin_capture(&mut self, begin: BeginCapture, attachments: &mut Attachments) {
        let BeginCapture { program, answer } = begin;
        let id = program.id();
        let mut shown = self.truth.dataplane_mut().begin_capture(*program).map_err(anyhow::Error::from);
        if shown.is_ok() {
            shown = self.attach_again(attachments).await;
            if shown.is_err() {
                self.stop_capture(id, attachments).await;
            }
        }
        let told = answer.send(shown.map_err(|error| with_causes(error.as_ref())));
        if told.is_err() {
            // Whoever has asked is gone.
            self.stop_capture(id, attachments).await;
        }
    }

    /// Has every packet meet the program of before.
    pub(super) async fn end_capture(&mut self, end: EndCapture, attachments: &mut Attachments) {
        self.stop_capture(end.id, attachments).await;
        let _ = end.answer.send(());
    }

    /// What goes on without the daemon shows no packets.
    pub(super) async fn leave_without_capture(&mut self, attachments: &mut Attachments) {
        if let Some(id) = self.truth.dataplane_mut().capture() {
            self.stop_capture(id, attachments).await;
        }
    }

    async fn stop_capture(&mut self, id: u64, attachments: &mut Attachments) {
        if self.truth.dataplane_mut().capture() != Some(id) {
            return;
        }
        self.truth.dataplane_mut().end_capture();
        match self.attach_again(attachments).await {
            Ok(()) => info!("the program of before is attached again"),
            // It balances all the same, and shows nothing once its time is over.
            Err(error) => error!("the program that shows packets stays: {}", with_causes(error.as_ref())),
        }
    }

    pub(super) async fn attach_again(&mut self, attachments: &mut Attachments) -> Result<()> {
        let mut found = Attachments::find(self.truth.config(), &self.netlink, self.pins).await?;
        found.attach(self.truth.dataplane_mut(), self.pins.path())?;
        *attachments = found;
        Ok(())
    }
}
