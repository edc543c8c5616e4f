"""What every run does beside its steps: loop, processes, exact states, alarms, sample grids, publishing, cost."""
