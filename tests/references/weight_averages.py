"""Averages of weights from the whole history of a training: one number after each update."""


def ema(history, decay):
    average = history[0]
    for value in history[1:]:
        average = decay * average + (1 - decay) * value
    return average


def mean(history):
    return sum(history) / len(history)


def valley(losses, patience, overfit_patience, tolerance):
    """Algorithm 1 of SWAD, as it is printed: first and last index into the losses, both from 0, and whether it ended by itself.

    Without an end the last one is that of the last loss that is not above the threshold, or the last that any end to come would
    have left in.
    """
    start = threshold = None
    for i in range(len(losses)):
        if threshold is None:
            window = losses[i - patience + 1 : i + 1]
            if i - patience + 1 >= 0 and losses[i - patience + 1] == min(window):
                start = i - patience + 1
                threshold = tolerance * sum(window) / patience
                surely = max(start, i - overfit_patience + 1)
        elif threshold < min(losses[max(0, i - overfit_patience + 1) : i + 1]) and i - overfit_patience + 1 >= 0:
            return start, i - overfit_patience, True
    if threshold is None:
        return len(losses) - 1, len(losses) - 1, False
    low = [i for i in range(start, len(losses)) if losses[i] <= threshold]
    return start, max([surely, *low]), False
