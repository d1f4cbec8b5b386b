"""From runs of continuous activity to moving pictures."""
