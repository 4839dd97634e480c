from .blame import (answering_for as answering_for, name_of as name_of)
from .folders import (GIVE as GIVE, weight_files as weight_files)
from .gguf import (convert_gguf as convert_gguf, find_gguf as find_gguf, read_gguf as read_gguf, write_gguf as write_gguf)
from .machine import (Device as Device, find_device as find_device, load_ray as load_ray, matmul_rate as matmul_rate, wants_bfloat16 as wants_bfloat16)
from .opening import (assert_models as assert_models, load_checkpoint as load_checkpoint, open_model as open_model,
    open_trainer as open_trainer, outside_model as outside_model, quiet_hub as quiet_hub, quiet_libraries as quiet_libraries,
    assert_openable as assert_openable, assert_opens as assert_opens)
from .protocols import (OPTIMIZER as OPTIMIZER, OPTIMIZER_BEFORE as OPTIMIZER_BEFORE, Advance as Advance, Batch as Batch,
    Model as Model, Trainer as Trainer, Unshared as Unshared,
    answers as answers, completions as completions, plan_batches as plan_batches, heard as heard,
    streams as streams, trouble_of as trouble_of)
from .soundness import (assert_finite as assert_finite, assert_readable as assert_readable, assert_sound as assert_sound,
    is_quantised as is_quantised, read_config as read_config)
from .thoughts import (CLOSE as CLOSE, OPEN as OPEN, in_quotes as in_quotes, parted as parted, thought_of as thought_of,
    without_thought as without_thought, written_with as written_with)
from .tokens import (came_without_template as came_without_template, completion_ids as completion_ids, count_tokens as count_tokens, load_tokenizer as load_tokenizer, prompt_ids as prompt_ids, stops_within as stops_within, system_turn as system_turn, way_of_thinking as way_of_thinking)
