//! What the status of each custom resource says, from what one pass has seen and planned.
