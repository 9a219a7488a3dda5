"""What the library and its benchmark use of transformers, for pyright alone.

Its own `__init__` takes all names of four hundred packages, and pyright reads every one of them: a third of its time.
A name that is missing here is an error of pyright's where it is imported.
"""

from transformers.models.clip.configuration_clip import CLIPTextConfig as CLIPTextConfig
from transformers.models.clip.modeling_clip import CLIPTextModel as CLIPTextModel
from transformers.models.clip.modeling_clip import CLIPTextModelWithProjection as CLIPTextModelWithProjection
from transformers.models.clip.tokenization_clip import CLIPTokenizer as CLIPTokenizer
from transformers.models.t5.configuration_t5 import T5Config as T5Config
from transformers.models.t5.modeling_t5 import T5EncoderModel as T5EncoderModel
from transformers.models.t5.tokenization_t5 import T5Tokenizer as T5Tokenizer
from transformers.models.xlm_roberta.tokenization_xlm_roberta import XLMRobertaTokenizer as XLMRobertaTokenizer
