"""Tables of a report: what they show, and the numbers behind them."""
