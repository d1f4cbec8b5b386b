"""Raw BOLD series with events: runs, confounds, single-trial betas."""
