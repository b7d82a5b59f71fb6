"""What evaluation does when asked and when others speak: one class per matter, one method per use case or reaction."""

from services.evaluation.handlers.assessments import Assessments
from services.evaluation.handlers.closures import Closures
from services.evaluation.handlers.hearing import Hearing
from services.evaluation.handlers.revisions import Revisions
from services.evaluation.handlers.scorecards import OpenPublication, Scorecards

__all__ = ["Assessments", "Closures", "Hearing", "OpenPublication", "Revisions", "Scorecards"]
