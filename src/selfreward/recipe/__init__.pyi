from .data import (EFTConfig as EFTConfig, SeedConfig as SeedConfig, SourceConfig as SourceConfig)
from .engines import (BackendConfig as BackendConfig, ClusterConfig as ClusterConfig, ServerConfig as ServerConfig)
from .fields import (HUB_ID as HUB_ID, IMPORT_PATH as IMPORT_PATH, LOOKED_IN as LOOKED_IN, ROLES as ROLES, AnsweringConfig as AnsweringConfig,
    Located as Located, ModelName as ModelName,
    SamplingConfig as SamplingConfig, Section as Section, assert_open as assert_open, begun_with as begun_with,
    first_spelling as first_spelling, imported as imported, in_package as in_package, look_in as look_in, looked_in as looked_in, place_of as place_of)
from .iteration import (BEST_AGAINST_WORST as BEST_AGAINST_WORST,
    JudgeConfig as JudgeConfig, PairsConfig as PairsConfig, PromptsConfig as PromptsConfig)
from .measuring import (CHECKS as CHECKS, FIRST_SECOND_TIE as FIRST_SECOND_TIE, DriftConfig as DriftConfig, Limit as Limit,
    PairwiseConfig as PairwiseConfig, label_name as label_name)
from .own import (assert_engine as assert_engine, assert_returns as assert_returns, assert_takes as assert_takes,
    engine_at as engine_at, field_of as field_of, function_at as function_at, held_by as held_by, misspelt as misspelt)
from .loading import (change_recipe as change_recipe, load_recipe as load_recipe, merged as merged, set_field as set_field,
    written as written)
from .recipe import (Recipe as Recipe, changed_fields as changed_fields, changed_values as changed_values,
    dotted as dotted, in_words as in_words, known_fields as known_fields, read_recipe as read_recipe, read_tree as read_tree, shipped_recipes as shipped_recipes)
from .training import (NO_MATTER as NO_MATTER, WISE as WISE, DPOConfig as DPOConfig, JudgePairsConfig as JudgePairsConfig, LoRAConfig as LoRAConfig, SFTConfig as SFTConfig,
    TrainerConfig as TrainerConfig)
