"""Every error this package raises on purpose.

A user's mistake becomes one sentence: the field, the value given and what is allowed. The command line prints it
without a traceback and exits with :attr:`NaposError.exit_status`.
"""


class NaposError(Exception):
    """Base of all errors raised by napos-lmp."""

    exit_status = 2


class CompositionError(NaposError, ValueError):
    """A formula, series or charge assignment that cannot be used."""


class StructureError(NaposError, ValueError):
    """Atoms that cannot be packed, or a data file that cannot be read."""


class PotentialError(NaposError, ValueError):
    """A potential or its card that is missing, damaged or unfit for the job."""


class ProtocolError(NaposError, ValueError):
    """A stage or preset with impossible parameters."""


class TemplateError(NaposError, ValueError):
    """A template that is missing or does not render."""


class StudyError(NaposError, ValueError):
    """A study file that does not say what to do."""


class DeckError(NaposError, ValueError):
    """A deck folder that is incomplete, changed or unreadable."""


class PreflightError(NaposError, RuntimeError):
    """A check before the first step found that a run cannot succeed."""


class EngineError(NaposError, RuntimeError):
    """LAMMPS could not be started, or stopped with an error."""


class DeckBusyError(EngineError):
    """Another process is running this deck."""


class RunStoppedError(EngineError):
    """A run was stopped on request; the same call goes on."""

    exit_status = 130


class TrajectoryError(NaposError, ValueError):
    """A trajectory that is missing, empty or inconsistent with its manifest."""


class AnalysisError(NaposError, ValueError):
    """An analysis asked for something the data cannot give."""


class TrainingError(NaposError, RuntimeError):
    """A training run that cannot start or did not finish."""


class ReferenceDataError(NaposError, ValueError):
    """Reference frames, their card or a sampling file that cannot be used."""


class LabelError(NaposError, RuntimeError):
    """A queue of labels, or its engine, that cannot go on."""


class EvaluationError(NaposError, ValueError):
    """A potential that cannot be compared with labels, or not with these."""


class LearningError(NaposError, ValueError):
    """A plan of active learning that cannot be followed, or not any further."""
