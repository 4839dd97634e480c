"""Words around a verdict in the languages that judges write: units, ranges, sums, best scores.

English, Chinese, Hindi, Spanish, Arabic, French, Bengali, Portuguese, Russian, Urdu, Indonesian and German are the twelve with
the most speakers; Japanese, Korean, Italian, Dutch, Polish, Turkish and Vietnamese are here too. The verdicts are short forms, so
that a word alone is no sign of its language: each list is the union over all of them.
"""

from __future__ import annotations

import re

# Models repeat themselves without end, so no pattern here may go back over a run of characters that it took in (`*+`).
LINE_END = r"[\n\r\v\f\x1c-\x1e\x85\u2028\u2029]"
SPACE = r"[^\S\n\r\v\f\x1c-\x1e\x85\u2028\u2029]"
"""White space of any kind within a line."""
WRAPPING = r"*_()\[\]{}\"'“”‘’«»`$（）［］【】「」『』〔〕"
_TEX = r"\\(?:boxed|fbox|text(?:bf|it|rm)?|math(?:bf|rm|it)?|displaystyle|[()\[\],;! ](?!\d)|[()\[\]](?=\d)|(?=[%/]))"
_TOKENS = "(?:pad|unk|s|bos|eos|mask|sep|cls)"
AROUND = rf"(?:{SPACE}|[{WRAPPING}]|{_TEX}|</?(?!{_TOKENS}>)[a-z][\w-]{{0,20}}(?:\s[^<>\n]{{0,80}}+)?>)*+"
"""Spaces, emphasis, brackets, quotes and tags, which change nothing of what they stand around; tokens with names are no tags."""
BEFORE = rf"(?:[\s|]|(?<={LINE_END})>|{AROUND[3:-3]})*+"
"""`AROUND` before a verdict, with line ends, cells of a table and block quotes."""
DIGIT = r"[\d¼-¾²³¹⁰⁴-⁹₀-₉⅐-⅞↉]"
SIGN = rf"[^\w\s.!?:∶/∕／。！？：{WRAPPING}]"
POSITIVE = r"\d+(?:\.\d+|,(?!\d{3}\b)\d+)?"


def any_of(words: str) -> str:
    """An alternation of `words`, longest first; they are regular expressions, and `_` in them stands for a space."""
    return "(?:" + "|".join(word.replace("_", rf"{SPACE}++") for word in sorted(words.split(), key=len, reverse=True)) + ")"


# a number goes on

UNITS = any_of(
    "points? pts? stars? marks? punkte?n? sternen? puntos? estrellas? étoiles? pontos? estrelas? punt[oi] stell[ae]"
    " балл(?:а|ов|ы)? очк(?:о|а|ов) зв[её]зд(?:а|ы)? punten sterren gwiazd(?:k[ai]|ek) punkty punktów puan yıldız poin bintang"
    " điểm sao نقاط نقطة درجات درجة نجوم अंक तारे नंबर नम्बर পয়েন্ট নম্বর نمبر 分 点 點 颗星 星 つ星 점 별 pt"
)
RANGE = any_of(
    "to or through till until bis oder à ou lub até до или à_la tot ile ila veya sampai hingga atau đến hoặc"
    " إلى أو او से या अथवा থেকে বা অথবা سے یا 至 到 或 或者 还是 還是 から か または 에서 또는 bzw\\.? beziehungsweise либо или_же"
    " ou_bien o_bien oppure ovvero albo lub ofwel ya_da up_to as_much_as as_high_as bis_zu jusqu['’]à hasta fino_a"
)
"""Words between the ends of a range, or of a choice."""
JOINED = any_of("and plus minus times less versus vs\\.? x und weniger et moins más menos mais più meno плюс минус en 和 と और و")
_TEX_JOINED = r"\\(?:to|sim|l?dots|cdots|times|cdot|pm|approx|rightarrow|Rightarrow|geq?|leq?|div)(?![a-z])"
_ROUNDED = any_of(
    "round(?:s|ed|ing) (?:auf|ab)?gerundet arrondie? redondead[oa] arredondad[oa] arrotondat[oa] afgerond zaokrąglone"
    " yuvarlan(?:arak|mış) dibulatkan округл(?:[её]нно|яем|ить) 四舍五入 四捨五入"
)
_REVISED = any_of("revised corrected adjusted changed updated korrigiert corrigé corregid[oa] corrigid[oa] исправлено")
_OR_MORE = any_of(
    "or_(?:higher|above|more|less|lower|below|better|worse|under|over) at_(?:least|most) oder_(?:mehr|höher|besser|weniger)"
    " mindestens ou_(?:plus|mais|moins|menos) au_moins o_(?:más|menos|più|meno) al_menos pelo_menos almeno"
    " или_(?:выше|больше|меньше|ниже) не_менее atau_(?:lebih|kurang)"
    " 以上 以下 左右 上下 程度 정도 이상 이하 या_अधिक বা_তার_বেশি أو_أكثر یا_زیادہ"
)
AND_WORDS = any_of("and und et y e en dan и 和 与 與 और و")
BRIEF = "(?:a|o|u|y|e|и|do)"
"""Words of a range in a letter or two, which begin other things as well: they need two whole numbers and only spaces between."""
MAYBE = any_of(
    "maybe perhaps possibly even almost probably nearly rather eher vielleicht sogar fast peut-être presque quizás? tal_vez"
    " incluso casi talvez quase forse quasi может_быть возможно почти 或许 也许 可能 甚至"
    " plutôt même más_bien bahkan mungkin даже скорее auch evtl\\.? eventuell éventuellement eventualmente ggf\\.? rather"
)
_AT_MOST = any_of("at_most maximal höchstens au_plus como_máximo no_máximo максимум")
HALF = (
    any_of("and_a_half und_ein_halber? einhalb et_demie? y_medi[oa] e_mei[oa] e_mezz[oa] с_половиной en_een_half")
    + rf"|{UNITS}?半|점{SPACE}*+반"
)
_TWO_TO_TEN = (
    "two three four five six seven eight nine ten",
    "zwei drei vier fünf sechs sieben acht neun zehn",
    "deux trois quatre cinq six sept huit neuf dix",
    "dos tres cuatro cinco seis siete ocho nueve diez",
    "dois três quatro cinco seis sete oito nove dez",
    "due tre quattro cinque sei sette otto nove dieci",
    "twee drie vier vijf zes zeven acht negen tien",
    "два три четыре пять шесть семь восемь девять десять",
    "двух трёх четырёх пяти шести семи восьми девяти десяти",
    "dua tiga empat lima enam tujuh delapan sembilan sepuluh",
    "दो तीन चार पाँच छह सात आठ नौ दस",
)
SPELT = {
    **{word: value for words in _TWO_TO_TEN for value, word in enumerate(words.split(), start=2)},
    **dict.fromkeys(("خمسة", "পাঁচ", "پانچ", "五", "beş", "năm", "다섯"), 5),
    **dict.fromkeys(("عشرة", "দশ", "دس", "十", "mười", "열"), 10),
    **dict.fromkeys(("twenty", "zwanzig", "vingt", "veinte", "vinte", "venti", "двадцати"), 20),
    **dict.fromkeys(("hundred", "hundert", "cent", "cien", "cem", "cento", "honderd", "ста", "百", "seratus"), 100),
}
"""Numbers as words, as far as a best score or the end of a range is ever spelt out."""
_STEM = rf"(?<![^\W\d_])(?:{'|'.join(sorted(SPELT, key=len, reverse=True))})"
_SPELT = rf"{_STEM}(?![^\W\d_])"
_BRIEFLY = rf"(?:{SPACE}|[*_`\"'“”‘’$])*+"
"""The marks of `AROUND` without brackets."""
_IN_BRACKETS = r"(?:\([^()\n]{0,300}+\)|（[^（）\n]{0,300}+）|\[[^\[\]\n]{0,300}+\])"
_FOR = any_of("for für pour por para per за voor untuk için cho")
_AND = rf"(?:[,;&，、]{_BRIEFLY})?(?:{any_of('and und et y e и en dan ve và')}{_BRIEFLY})?"
_NEXT_ITEM = rf"(?:\r?{LINE_END}{SPACE}*+(?:[-*•]{SPACE}++)?)?"
GOES_ON = re.compile(
    rf"[.,:．，：٫٬'’]?{DIGIT}|e[-+−]?\d"
    rf"|{SPACE}*+\*?{SPACE}*+{DIGIT}"
    rf"|[)\]}}）】」]{SPACE}*+{DIGIT}|[-−](?={LINE_END}|\Z)|{AROUND}\+/[-−]|{AROUND}[(,;]?{AROUND}{_ROUNDED}(?![^\W\d_])"
    rf"|{AROUND}[(,;→]?{AROUND}{_REVISED}{AROUND}(?:(?:to|auf|à|a|до|[:：]){AROUND})?{DIGIT}"
    rf"|{AROUND}(?:{UNITS}{AROUND})?{_OR_MORE}(?![^\W\d_])(?!{AROUND}{DIGIT})|{SPACE}++(?:plus|minus)(?={AROUND}\.?(?:{LINE_END}|\Z))|{SPACE}*+‰"
    rf"|(?!{UNITS}(?![a-z]))[a-z]{{1,3}}(?![^\W\d_]|-)"
    rf"|{AROUND}(?:{SIGN}++|\.{{2,3}}|[:：∶]|{JOINED}|{_TEX_JOINED}){AROUND}(?:{MAYBE}{AROUND})?{DIGIT}"
    rf"|{AROUND}(?:{UNITS}{AROUND})?{RANGE}{AROUND}(?:(?:{MAYBE}|{_AT_MOST}|an?){AROUND})?(?:{DIGIT}|{_SPELT})"
    rf"|{AROUND}{MAYBE}{SPACE}++{DIGIT}"
    rf"|{SPACE}++(?:{UNITS}{SPACE}++)?{BRIEF}{SPACE}++(?:{MAYBE}{SPACE}++)?\d++(?![-–]?\w)"
    rf"|{AROUND}{UNITS}{AROUND}[-−–—~～]{AROUND}{POSITIVE}{AROUND}{UNITS}(?![^\W\d_])"
    rf"|{_BRIEFLY}(?:{UNITS}{_BRIEFLY})?{_IN_BRACKETS}{_BRIEFLY}{_AND}{_NEXT_ITEM}{POSITIVE}{_BRIEFLY}(?:{UNITS}{_BRIEFLY})?[(（]"
    rf"|{_BRIEFLY}(?:{UNITS}{_BRIEFLY})?{_FOR}(?:{SPACE}++[^\W\d_]++){{1,4}}+{_BRIEFLY}"
    rf"{_AND}{_NEXT_ITEM}\d++{_BRIEFLY}(?:{UNITS}{_BRIEFLY})?{_FOR}{SPACE}"
    rf"|[+＋](?=\s|[{WRAPPING}]|\Z)|(?:st|nd|rd|th|[eè]re?(?!-)|[eè]me|te)(?!\w)|[ºª°]"
    rf"|{AROUND}(?:{HALF})|{AROUND}(?:point|comma|komma|virgule|coma|vírgula|virgola|запятая|целых){AROUND}\d|[点點]\d++(?![点點])",
    re.IGNORECASE,
)
"""Text that makes the number before it a part of something: a longer number, a power, a range, a sum, a list, an ordinal."""

_NOT = any_of(
    "not nicht pas não не bukan 不是 لا नहीं নয় نہیں değil niet nie than from of previously formerly was instead before"
    " vorher zuvor statt avant antes прежде раньше sebelumnya"
    " originally initially raised lowered lost losing deducted deducting ursprünglich initialement originalmente inicialmente"
    " criteri(?:on|a) steps? lines? items? questions? rules? sections? paragraphs? kriterium schritt zeile critère étape ligne"
    " criterio paso línea critério passo linha критери[йя] шаг see siehe vgl\\.? voir véase veja vedi zie см\\.?"
)
_WORD_OF_ANY_SCRIPT = r"[^\s\d:：.。,，、;；!！?？()（）\[\]{}|/∕／=+<>]++"
ANOTHER = re.compile(
    rf"(?:{SPACE}|[,，、;；(（\[→>–—*_-]|\.{{2,3}}|…)*+(?:(?!{_NOT}(?![^\W\d_])){_WORD_OF_ANY_SCRIPT}(?:{SPACE}|[,，、*_])++){{1,3}}?"
    rf"({POSITIVE}){AROUND}{UNITS}?{AROUND}[.!。]?{AROUND}(?:{LINE_END}|\Z)",
    re.IGNORECASE,
)
"""Another number that ends the line, one to three words of any language after the first."""


NOT_JOINED = r"(?![^\W\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u9fff\uac00-\ud7af])"
"""The end of a word: no letter follows, but of a script that puts no spaces between words."""


# sums

_IS = any_of("equals makes gives is_equal_to ergibt macht égale es_igual_a é_igual_a равно")
_PLUS = any_of("plus más mais più плюс")
LETTER = r"(?:[^\W\d_]|[\u0900-\u0903\u093a-\u094f\u0981-\u0983\u09bc-\u09cd\u064b-\u065f])"
"""A letter, or a vowel sign of Hindi, Bengali or Arabic."""
_NOTE = rf"(?:{_BRIEFLY}(?:{_IN_BRACKETS}|(?!(?:{_IS}|{_PLUS})(?!\w)){LETTER}++)){{0,6}}+{AROUND}[,;、，]?{SPACE}*+"
"""The purpose of a term: something in brackets, or a few words."""
_NEXT_LINE = rf"(?:\r?{LINE_END}{SPACE}*+)?"
ADDED = re.compile(
    rf"(?:{_NOTE}(?:{_NEXT_LINE}[+＋]|{_PLUS}(?!\w))|{_BRIEFLY}{_IN_BRACKETS}?{_BRIEFLY}([-−–])){AROUND}({POSITIVE})",
    re.IGNORECASE,
)
"""A further term: a sign where it is taken away, and the number."""
TOTAL = re.compile(
    rf"{_NOTE}{_NEXT_LINE}(?:=>|->|[=＝→⇒]|{_IS}){AROUND}([-+]?{POSITIVE})",
    re.IGNORECASE,
)
"""The sum of the terms before it."""

PARTS = re.compile(
    rf"(?:{_BRIEFLY}(?P<opened>[(（\[]){SPACE}*+[=＝]?|{AROUND}[=＝]){_BRIEFLY}({POSITIVE})(?={_NOTE}(?:[+＋]|{_PLUS}(?!\w))|{AROUND}[-−–])",
    re.IGNORECASE,
)
"""The first of the terms after a total that is their sum."""

# the best score there is

_BEST = rf"({POSITIVE}|{_SPELT}|[五十百])"
_BEST_STEM = rf"({POSITIVE}|{_SPELT}|{_STEM}(?=stufig|punkte|балл)|[五十百])"
_OF = any_of("of von der aus auf sur de sobre em dos su di из van uit z na dari trên من op")
_FAINTLY_OF = any_of("from within over against in on per على")
"""Words that say so where nothing follows the number."""
_FILLER = any_of(
    "a an the possible maximum total of max\\.? maximal insgesamt möglichen maximalen einer einem? une? una un uno um uma"
    " m[áa]x(?:imo)? de massimo di возможных максимальных أصل أقصى maksimal maksimum maks\\.? tối_đa"
    " les los las os der perfect full top best score mark grade tổng_số"
)
_MAX = any_of(
    "max\\.? maximal(?:e[rns]?)? maximums? máx\\.? máxim[oa] maksimal maksimum maks\\.? макс\\.? максимум максимально"
    " massimo höchstens максимальн(?:ый|ая|ое) massima (?:maximal|höchst)punktzahl 共"
    " 满分 滿分 满点 満点 总分 總分 最高分? 最大 만점 최대 अधिकतम সর্বোচ্চ الحد_الأقصى أقصى_درجة tối_đa زیادہ_سے_زیادہ سب_سے_زیادہ"
    " (?:highest|best|top)(?:_possible)?(?:_(?:score|mark|grade))?(?![^\\W\\d]) bestnote höchstnote"
)
_MARK = any_of("points? score punktzahl punkte note балл оценка nilai")
_IS_THE = rf"(?:(?:{any_of('is being as ist étant est siendo es sendo é essendo è это adalah')}|[=:]){AROUND})"
_THE = rf"(?:{any_of('the das der die le la el il o a')}{SPACE}++)?"
_FIRST_RATE = any_of("best highest top beste meilleure? mejor melhor migliore лучш(?:ее|ий|ая) terbaik 最好 最高") + r"(?!\w)"
_WITH = any_of("with where wobei mit où avec donde con onde com dove где при siendo sendo essendo")
_SCALE = any_of(
    "scale range skala échelle escala scala шкал[еа] schaal skali ölçek(?:te)? مقياس thang(?:_điểm)? 量表 尺度 척도 पैमाने"
)
_FROM = any_of("từ of from out_of von vom de del da dal dall do du allant_de od от van من из zero null one eins 0 1")
_UP_TO = "to up_to bis à a al até до tot do sampai hingga đến إلى से থেকে سے から 에서 and und et y e и"
_SPAN = any_of("from von de da del от из dari van từ من 从 從 自")
_TO = rf"(?:[-–—−~～〜至到]|\.{{2,3}}|…|{any_of(_UP_TO)})"
_WORD = rf"(?:[^\W\d_]++\.?{AROUND})"
_POINTS = any_of("points? punkte stufigen?e? er балл?льной puntos pontos punti punten puntowej")
_PERCENT = (
    r"[%％٪]|"
    + any_of("percent per_cent prozent pour_cent por_ciento por_cento per_cento процент(?:а|ов)? procent persen phần_trăm")
    + r"(?!\w)|प्रतिशत|শতাংশ|فیصد|(?:ب|في )الم(?:ئة|ائة)|パーセント|퍼센트"
)
_LESS = any_of("में_से এর_মধ্যে میں_سے üzerinden 중 中")
"""Words after the best score: the number given out of it follows."""
_IN_ALL = any_of("total overall in_total in_all altogether insgesamt au_total en_total in_totale no_total")
_LINK = any_of("の 까지의 까지 의 के की का کے کی 的 kadar") + "?"
_SCALE_LAST = any_of(
    "पैमाने स्केल স্কেলে? স্কেলের پیمانے اسکیل 尺度 量表 척도 스케일 üzerinden"
    " ölçe[\\w’']+ 段階(?:評価)? 分制 点制 点?満点 分?满分 分?滿分 만점"
)
"""Words for a scale in languages that put them behind its ends."""
_SCALE_BEHIND = rf"(?:\d++{AROUND}{_TO}{AROUND})?{_BEST}{AROUND}{UNITS}?{AROUND}{_LINK}{AROUND}{_SCALE_LAST}"
_OF_POINTS = r"(?<=[分点點星\d])制"
_NAMED = rf"(?:{UNITS}{AROUND})?[,;；|，、]?{AROUND}"
OUT_OF = re.compile(
    rf"{AROUND}(?:"
    rf"{_NAMED}(?<=[(（\[])(?:{_SPAN}{SPACE}*+)?{_BEST}{AROUND}{_TO}{AROUND}{_BEST}{SPACE}*+{UNITS}?{SPACE}*+[)）\]]"
    rf"|(?:(?:{_WORD}|(?:{UNITS}{AROUND})?{_IN_ALL}{AROUND})?(?:[/∕／]|(?:[,;–—-]{AROUND})?out{SPACE}++of)|(?:{UNITS}{AROUND})?{_OF}(?!\w))(?:{AROUND}{_FILLER}(?!\w))*+"
    rf"{AROUND}{_BEST}"
    rf"|{_FAINTLY_OF}(?!\w){AROUND}{_BEST}(?={AROUND}{UNITS}?[.!。]?{AROUND}(?:{LINE_END}|\Z))"
    rf"|{_NAMED}{_WORD}{{0,2}}?{_MAX}(?:{AROUND}{_FILLER}(?!\w))*+(?:{AROUND}{_MARK}(?!\w))?{AROUND}[=:：–—为為は]?{AROUND}{_BEST}"
    rf"|{_NAMED}(?:(?:{_WITH}{AROUND})?\d++{AROUND}(?:[=:]{AROUND})?{_WORD}{{1,2}}[,;]?{AROUND}(?:{AND_WORDS}{AROUND})?)?(?:{_WITH}{AROUND})?"
    rf"{_BEST}{AROUND}(?:{UNITS}{AROUND})?(?:(?:{_IS_THE}{_THE})?{_MAX}|(?:{_IS_THE}{_THE})?{_FIRST_RATE}|{_OF_POINTS}|段階)"
    rf"|{_NAMED}{_WITH}{AROUND}{_BEST}{AROUND}{_THE}(?:{_MAX}|{_FIRST_RATE})"
    rf"|{_NAMED}{_WORD}{{0,4}}?{_SCALE}{AROUND}[=:：]?(?:{AROUND}{_FROM}(?![\w.,]\d|\w))*+"
    rf"{AROUND}(?:{_TO}{AROUND})?{_BEST}(?:{AROUND}{_TO}{AROUND}{_BEST})?"
    rf"|{_NAMED}{_WORD}{{0,3}}?(?:\d++{AROUND}-?{_TO}-?{AROUND})?{_BEST_STEM}{AROUND}-?(?:{_POINTS}{AROUND}-?)?{AROUND}(?:likert{AROUND}-?)?{_SCALE}"
    rf"|{_NAMED}[在从從]?{_SCALE_BEHIND}"
    rf"|{_NAMED}(?:(?<=[(（\[])|(?<=[,，、])|(?<={SPACE})){_BEST}{AROUND}(?:{UNITS}{AROUND})?(?:{_LESS})(?:{AROUND}\d++)?"
    rf"{AROUND}[.!。]?(?={LINE_END}|\Z)"
    rf"|({_PERCENT}))",
    re.IGNORECASE,
)
"""The best score there is, where a verdict names it: the last group that matched, a percentage being of a hundred."""
BELOW = re.compile(
    rf"{AROUND}{UNITS}?{AROUND}{LINE_END}{AROUND}(?:[/∕／]|out{SPACE}++of|{_OF}(?!\w))"
    rf"(?:{AROUND}{_FILLER}(?!\w))*+{AROUND}{_BEST}{AROUND}{UNITS}?[.!。]?{AROUND}(?:{LINE_END}|\Z)",
    re.IGNORECASE,
)
"""The best score on a line of its own below the number."""
_BEFORE_SCORE = rf"(?:{LINE_END}|[^.!?;。！？\n]|(?<=\d)\.(?=\d)){{0,80}}?\Z"
"""The rest of a sentence up to the score."""
SCALE_BEFORE = re.compile(
    rf"(?<!\w)(?:(?:scor(?:e|ing)|rating){SPACE}++|(?!range)){_SCALE}{AROUND}[=:：]?(?:{AROUND}{_FROM}(?![\w.,]\d|\w))*+"
    rf"{AROUND}(?:{_WORD}{{0,2}}?{_TO}{AROUND})?{_BEST}(?:{AROUND}{_TO}{AROUND}{_BEST})?{_BEFORE_SCORE}"
    rf"|(?<![\d.,-]){_SCALE_BEHIND}{_BEFORE_SCORE}"
    rf"|(?<![\d.,-]){_BEST_STEM}{AROUND}-?(?:{_POINTS}{AROUND}-?)?{_SCALE}{_BEFORE_SCORE}"
    rf"|(?:(?:满分|滿分|満点){AROUND}[为為は]?{AROUND}|[在从從]\d++{AROUND}{_TO}{AROUND}){_BEST}{_BEFORE_SCORE}"
    rf"|(?<!\d\s)[(（\[](?:\d++{AROUND}{_TO}|out{SPACE}++of){SPACE}*+{_BEST}{SPACE}*+[)）\]]{AROUND}[,:]?{AROUND}\Z"
    rf"|(?:\A|{LINE_END}|[.!?;]{SPACE})[\W_]*+(?:out{SPACE}++of|{_OF}){SPACE}++(?:{_FILLER}{SPACE}++)*+{_BEST}{AROUND}{UNITS}?{AROUND}[,:]?{AROUND}\Z",
    re.IGNORECASE,
)
"""A scale in words before the score, within its sentence: the last group that matched is the best score there is."""
A_BEST = re.compile(_BEST_STEM)  # no scale is without one, and in small letters it is sought in a seventh of the time
AGAIN = re.compile(
    rf"{AROUND}[/∕／]{AROUND}\d|{_BRIEFLY}(?:{UNITS}{_BRIEFLY})?(?:out{SPACE}++of|{_OF})(?!\w){_BRIEFLY}{DIGIT}", re.IGNORECASE
)
"""A second best score behind the first."""
_ALSO = any_of(r"i\.e\. that_is or d\.h\. soit es_decir ossia")
SHARE = re.compile(
    rf"{AROUND}[,;]?{AROUND}(?:[=＝≈→]|->|{_ALSO}){AROUND}({POSITIVE}){AROUND}"
    rf"(?:(?P<percent>{_PERCENT})|[/∕／]{AROUND}(?P<of>{POSITIVE}))?",
    re.IGNORECASE,
)
"""A score out of its best one said once more, as a percentage, a fraction or out of another best one."""
_BEFORE_IT = any_of("中的 中 のうち で 에 에서 중 중에 중에서 में_से এর_মধ্যে میں_سے üzerinden")
_FULL = "(?:満点|满点|满分|滿分|만점|段階(?:評価)?|" + _OF_POINTS + ")"
SCALE_BEHIND = re.compile(
    rf"{AROUND}(?:[，、；]|[,;]{SPACE}){AROUND}\d++{AROUND}{UNITS}?{AROUND}{_FULL}{AROUND}[.。!！]?{AROUND}(?:{LINE_END}|\Z)",
    re.IGNORECASE,
)
"""A scale that ends the line behind a comma (`4，10分制`), whose number makes no part of the one before."""
BEST_FIRST = re.compile(
    rf"{AROUND}{UNITS}?{AROUND}(?:(?:{_FULL}{AROUND})?{_BEFORE_IT}|制下?|{_FULL}{AROUND}[,，]?{AROUND}得分?){AROUND}({POSITIVE})",
    re.IGNORECASE,
)
"""The score after a best score that stands first (`10点中4点`)."""
LISTED = re.compile(rf"([.)）、]){SPACE}*+[^\n]{{1,400}}?(?:\n\s*+|{SPACE}|[;；,，。])2\1(?!\d)")
"""The list that a 1 is the first number of."""
ENDS_LINE = re.compile(
    rf"(?![.)）、]{SPACE}++\S)(?:</[a-z][\w-]{{0,20}}>|[^\w\n\r\v\f\x1c-\x1e\x85\u2028\u2029]|\d|out(?!\w)"
    rf"|(?:{UNITS}|{_OF}|{_MAX}|{_FILLER}|{RANGE})(?![^\W\d_]))*+(?:{LINE_END}|\Z)",
    re.IGNORECASE,
)
"""A rest of a line without words of its own."""
