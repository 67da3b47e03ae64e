"""Active learning: explore with a committee, label where it disagrees, train again."""

from napos_lmp.learning.loop import Learned, learn, standing
from napos_lmp.learning.plan import LearningPlan, read_learning_plan

__all__ = ["Learned", "LearningPlan", "learn", "read_learning_plan", "standing"]
