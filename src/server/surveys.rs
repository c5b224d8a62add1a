//! Makes surveys of the exports in the background, for the metrics of the controller.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::task::JoinSet;
use tracing::Span;

use crate::csi::call::deadline::Deadline;
use crate::csi::call::lane::Lane;
use crate::csi::controller::Controller;
use crate::volume::controller::survey::Surveys;
use crate::volume::name::export::ExportRef;

/// How often the driver looks whether a survey is due.
const ROUND: Duration = Duration::from_secs(5);
/// How long a survey holds.
const HOLDS: Duration = Duration::from_mins(1);
/// Surveys take at most this fraction of the time, however many volumes there are.
const SHARE_OF_TIME: u32 = 100;
/// How long a round waits for the exports. What takes longer goes on, and its export has its next turn when it has ended.
const LONGEST: Duration = Duration::from_secs(8);

/// Makes surveys for as long as the process lives. A survey has a place among the calls to its export, like a question for its health,
/// so a dead export keeps one place of its own and nothing else.
pub(super) async fn make(controller: Controller, surveys: Arc<Surveys>) {
    let mut due: HashMap<ExportRef, Instant> = HashMap::new();
    loop {
        let settings = controller.volumes.settings.get();
        let exports = controller.volumes.known_exports(&settings);
        due.retain(|export, _| exports.contains(export));
        surveys.keep_only(&exports);
        let most = settings.measured_volumes;
        let mut round = JoinSet::new();
        for export in exports {
            let now = Instant::now();
            if due.get(&export).is_some_and(|due| *due > now) {
                continue;
            }
            due.insert(export.clone(), now + HOLDS);
            let lane = Lane::of_export(&settings, Some(&export));
            let (controller, surveys) = (controller.clone(), Arc::clone(&surveys));
            round.spawn(async move {
                let (volumes, own) = (Arc::clone(&controller.volumes), export.clone());
                let survey = move || volumes.survey(&own, most, &surveys);
                let deadline = Deadline::after(LONGEST);
                // The log has a line for each silent export already.
                if let Err(error) = controller.dispatcher.look(&lane, deadline, &Span::none(), survey).await {
                    tracing::debug!(%export, %error, "no survey of an export");
                }
                export
            });
        }
        while let Some(done) = round.join_next().await {
            if let Ok(export) = done
                && let Some(survey) = surveys.of(&export)
            {
                due.insert(export, Instant::now() + HOLDS.max(survey.took * SHARE_OF_TIME));
            }
        }
        tokio::time::sleep(ROUND).await;
    }
}
