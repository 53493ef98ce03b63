"""One YAML file -> one typed, validated, frozen :class:`RunConfig`.

Unknown keys, wrong types and contradictions are errors that name the setting and the nearest known one. Relative paths
are relative to the working folder; ``${NAME}`` is taken from the environment.
"""

from lensflow.config.base import Axis, Range
from lensflow.config.checks import DiagnosticsConfig, GateConfig, ScorerConfig
from lensflow.config.completeness import CompletenessConfig
from lensflow.config.core import CoreConfig
from lensflow.config.estimate import EstimateConfig
from lensflow.config.export import CoreMaskConfig, ExportConfig, LoaderConfig, NormalisationConfig
from lensflow.config.injection import InjectionConfig
from lensflow.config.load import load_config
from lensflow.config.plan import PlanConfig, SourcesConfig
from lensflow.config.realism import RealismConfig
from lensflow.config.reference import markdown
from lensflow.config.run import RunConfig, fingerprint, flatten
from lensflow.config.survey import BrickCutsConfig, SplitsConfig, StampsConfig, SurveyConfig, SyntheticConfig, ZeroPoint
from lensflow.config.training import TrainingConfig
from lensflow.config.work import ClusterConfig, KubernetesConfig, StorageConfig, StoreConfig, YarnConfig

__all__ = [
    "Axis",
    "BrickCutsConfig",
    "ClusterConfig",
    "CompletenessConfig",
    "CoreConfig",
    "CoreMaskConfig",
    "DiagnosticsConfig",
    "EstimateConfig",
    "ExportConfig",
    "GateConfig",
    "InjectionConfig",
    "KubernetesConfig",
    "LoaderConfig",
    "NormalisationConfig",
    "PlanConfig",
    "Range",
    "RealismConfig",
    "RunConfig",
    "ScorerConfig",
    "SourcesConfig",
    "SplitsConfig",
    "StampsConfig",
    "StorageConfig",
    "StoreConfig",
    "SurveyConfig",
    "SyntheticConfig",
    "TrainingConfig",
    "YarnConfig",
    "ZeroPoint",
    "fingerprint",
    "flatten",
    "load_config",
    "markdown",
]
