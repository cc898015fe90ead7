"""What settings mean together: every mistake in one message, across a run, its method, its data and a benchmark's lists."""
