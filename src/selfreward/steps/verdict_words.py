"""Words around a verdict in the languages that judges write: units, ranges, sums, best scores, and roles.

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
AROUND = rf"(?:{SPACE}|[{WRAPPING}]|{_TEX}|</?(?!{_TOKENS}>)[a-z][\w-]{{0,20}}>)*+"
"""Spaces, emphasis, brackets, quotes and tags, which change nothing of what they stand around; tokens with names are no tags."""
BEFORE = rf"(?:[\s|]|{AROUND[3:-3]})*+"
"""`AROUND` before a verdict, with line ends and cells of a table."""
DIGIT = r"[\d¼-¾²³¹⁰⁴-⁹₀-₉⅐-⅞↉]"
SIGN = rf"[^\w\s.!?:∶/∕／。！？：{WRAPPING}]"
POSITIVE = r"\d+(?:\.\d+|,(?!\d{3}\b)\d+)?"


def _any(words: str) -> str:
    """An alternation of `words`, longest first; they are regular expressions, and `_` in them stands for a space."""
    return "(?:" + "|".join(word.replace("_", rf"{SPACE}++") for word in sorted(words.split(), key=len, reverse=True)) + ")"


# who speaks

USERS = _any(
    "用户 用戶 उपयोगकर्ता usuarios? usuári[oa]s? usuaria المستخدم مستخدم utilisat(?:eur|rice) ব্যবহারকারী пользователь صارف"
    " pengguna (?:be)?nutzer(?:in)? ユーザー ユーザ 사용자 utente gebruiker użytkownik kullanıcı người_dùng"
    " 人类 人類 मानव humano إنسان الإنسان humain মানুষ человек انسان manusia mensch 人間 인간 umano człowiek insan con_người"
)
ASSISTANTS = _any(
    "助手 助理 सहायक asistente المساعد مساعد assistante? সহকারী assistente ассистент помощник معاون asisten assistent(?:in)?"
    " アシスタント 어시스턴트 asystent asistan trợ_lý 机器人 機器人 模型 人工智能助手"
)
ANSWERS = _any(
    "回答 答案 答 उत्तर जवाब respuesta الإجابة إجابة الجواب جواب réponse উত্তর resposta ответ جواب jawaban antwort 答え 답변 답"
    " risposta antwoord odpowiedź cevap yanıt (?:câu_)?trả_lời"
)
"""Words such as `Antwort:` begin the answer of a conversation, as `Assistant:` does."""
SOLUTIONS = _any(
    "(?:参考|參考|示例|正确|標準|标准|模範)(?:答案|回答|解答) 解答 解 输出 輸出 出力 lösung(?:en)? ausgabe solución"
    " solution sortie solução saída"
    " решение вывод समाधान সমাধান الحل حل solusi keluaran soluzione oplossing rozwiązanie çözüm 해답 출력 lời_giải"
)
"""Words with which the writer of a task begins to solve it, in addition to the words for an answer."""

# a number goes on

UNITS = _any(
    "points? pts? stars? marks? punkte?n? sternen? puntos? estrellas? étoiles? pontos? estrelas? punt[oi] stell[ae]"
    " балл(?:а|ов|ы)? очк(?:о|а|ов) зв[её]зд(?:а|ы)? punten sterren gwiazd(?:k[ai]|ek) punkty punktów puan yıldız poin bintang"
    " điểm sao نقاط نقطة درجات درجة نجوم अंक तारे পয়েন্ট 分 点 點 颗星 星 つ星 점 별"
)
RANGE = _any(
    "to or through till until bis oder à ou lub até от до или à_la tot ile ila veya sampai hingga atau đến hoặc"
    " إلى أو से या থেকে বা سے یا 至 到 或 或者 から か または 에서 또는 bzw\\.? beziehungsweise либо или_же ou_bien o_bien"
)
"""Words between the ends of a range, or of a choice."""
JOINED = _any("and plus minus times less versus vs\\.? x und weniger et moins más menos mais più meno плюс минус en 和 と और و")
_TEX_JOINED = r"\\(?:to|sim|l?dots|cdots|times|cdot|pm|approx|rightarrow|Rightarrow|geq?|leq?|div)(?![a-z])"
_ROUNDED = _any(
    "round(?:s|ed|ing) (?:auf|ab)?gerundet arrondie? redondead[oa] arredondad[oa] arrotondat[oa] afgerond zaokrąglone"
    " yuvarlan(?:arak|mış) dibulatkan округл(?:[её]нно|яем|ить) 四舍五入 四捨五入"
)
_AND_WORDS = _any("and und et y e en dan и 和 与 與 और و")
BRIEF = "(?:a|o|u|y|e|и|do)"
"""Words of a range in a letter or two, which begin other things as well: they need two whole numbers and only spaces between."""
MAYBE = _any(
    "maybe perhaps possibly even almost probably nearly rather eher vielleicht sogar fast peut-être presque quizás? tal_vez"
    " incluso casi talvez quase forse quasi может_быть возможно почти 或许 可能 甚至"
    " plutôt même más_bien bahkan mungkin даже скорее"
)
_AT_MOST = _any("at_most maximal höchstens au_plus como_máximo no_máximo максимум")
HALF = (
    _any("and_a_half und_ein_halber? einhalb et_demie? y_medi[oa] e_mei[oa] e_mezz[oa] с_половиной en_een_half")
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
_SPELT = rf"(?<![^\W\d_])(?:{'|'.join(sorted(SPELT, key=len, reverse=True))})(?![^\W\d_])"
_BRIEFLY = rf"(?:{SPACE}|[*_`\"'“”‘’$])*+"
"""The marks of `AROUND` without brackets."""
_IN_BRACKETS = r"(?:\([^()\n]{0,300}+\)|（[^（）\n]{0,300}+）|\[[^\[\]\n]{0,300}+\])"
_FOR = _any("for für pour por para per за voor untuk için cho")
_AND = rf"(?:[,;&，、]{_BRIEFLY})?(?:{_any('and und et y e и en dan ve và')}{_BRIEFLY})?"
GOES_ON = re.compile(
    rf"[.,:．，：٫٬'’]?{DIGIT}|e[-+−]?\d"
    rf"|{SPACE}*+\*?{SPACE}*+{DIGIT}"
    rf"|[)\]}}）】」]{SPACE}*+{DIGIT}|[-−](?={LINE_END}|\Z)|{AROUND}\+/[-−]|{AROUND}[(,;]?{AROUND}{_ROUNDED}(?![^\W\d_])"
    rf"|{AROUND}(?:{SIGN}++|\.{{2,3}}|[:：∶]|{JOINED}|{_TEX_JOINED}){AROUND}(?:{MAYBE}{AROUND})?{DIGIT}"
    rf"|{AROUND}(?:{UNITS}{AROUND})?{RANGE}{AROUND}(?:(?:{MAYBE}|{_AT_MOST}|an?){AROUND})?(?:{DIGIT}|{_SPELT})"
    rf"|{AROUND}{MAYBE}{SPACE}++{DIGIT}"
    rf"|{SPACE}++(?:{UNITS}{SPACE}++)?{BRIEF}{SPACE}++(?:{MAYBE}{SPACE}++)?\d++(?![-–]?\w)"
    rf"|{AROUND}{UNITS}{AROUND}[-−–—~～]{AROUND}{POSITIVE}{AROUND}{UNITS}(?![^\W\d_])"
    rf"|{_BRIEFLY}{_IN_BRACKETS}{_BRIEFLY}{_AND}{POSITIVE}{_BRIEFLY}[(（]"
    rf"|{_BRIEFLY}(?:{UNITS}{_BRIEFLY})?{_FOR}(?:{SPACE}++[^\W\d_]++){{1,4}}+{_BRIEFLY}"
    rf"{_AND}\d++{_BRIEFLY}(?:{UNITS}{_BRIEFLY})?{_FOR}{SPACE}"
    rf"|[+＋](?=\s|[{WRAPPING}]|\Z)|(?:st|nd|rd|th|[eè]re?(?!-)|[eè]me|te)(?!\w)|[ºª°]"
    rf"|{AROUND}(?:{HALF})|{AROUND}(?:point|comma|komma|virgule|coma|vírgula|virgola|запятая|целых){AROUND}\d|[点點]\d++(?![点點])",
    re.IGNORECASE,
)
"""Text that makes the number before it a part of something: a longer number, a power, a range, a sum, a list, an ordinal."""


def choice(label: str) -> str:
    """A pattern for two labels or more side by side between which nothing is said; `label` is one of them, as a pattern."""
    in_list = rf"[,;，、](?={AROUND}(?:{label}){AROUND}(?:[,;，、/|]|{RANGE}|{LINE_END}|\Z))"
    side_by_side = rf"(?:[/∕／|&]|{RANGE}|{_AND_WORDS}|{in_list})"
    return rf"(?<!\w)(?:{label})(?!\w)(?:{AROUND}{side_by_side}{AROUND}(?:the\s+)?(?:{label})(?!\w))+"


# sums

_IS = _any("equals makes gives is_equal_to ergibt macht égale es_igual_a é_igual_a равно")
_PLUS = _any("plus más mais più плюс")
_NOTE = rf"(?:{_BRIEFLY}(?:{_IN_BRACKETS}|(?!(?:{_IS}|{_PLUS})(?!\w))[^\W\d_]++)){{0,6}}+{AROUND}[,;、，]?{SPACE}*+"
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

# the best score there is

_BEST = rf"({POSITIVE}|{_SPELT}|[五十百])"
_OF = _any("of von der aus auf sur de sobre em dos su di из van z na dari trên من op")
_FILLER = _any(
    "a an the possible maximum total of max\\.? maximal insgesamt möglichen maximalen einer einem? une? una un uno um uma"
    " m[áa]x(?:imo)? de massimo di возможных максимальных أصل أقصى maksimal maksimum maks\\.? tối_đa"
    " les los las os der"
)
_MAX = _any(
    "max\\.? maximal(?:e[rns]?)? maximums? máx\\.? máxim[oa] maksimal maksimum maks\\.? макс\\.? максимум максимально"
    " massimo höchstens максимальн(?:ый|ая|ое) massima (?:maximal|höchst)punktzahl 共"
    " 满分 滿分 满点 満点 总分 總分 最高分? 最大 만점 최대 अधिकतम সর্বোচ্চ الحد_الأقصى tối_đa highest_possible best_possible"
)
_MARK = _any("points? score punktzahl punkte note балл оценка nilai")
_IS_THE = rf"(?:(?:is|being|as|[=:]){AROUND}(?:the{SPACE}++)?)"
_WITH = _any("with where wobei mit où avec donde con onde com dove где при")
_SCALE = _any(
    "scale range skala échelle escala scala шкал[еа] schaal skali ölçek(?:te)? مقياس thang(?:_điểm)? 量表 尺度 척도 पैमाने"
)
_FROM = _any("of from out_of von vom de del da dal dall do du allant_de od от van من из zero null one eins 0 1")
_UP_TO = "to bis à a al até до tot do sampai hingga đến إلى से থেকে から 에서 and und et y e и"
_TO = rf"(?:[-–—−~～〜至到]|\.{{2,3}}|…|{_any(_UP_TO)})"
_WORD = rf"(?:[^\W\d_]++\.?{AROUND})"
_POINTS = _any("points? punkte stufigen?e? er балл?льной puntos pontos punti punten puntowej")
_PERCENT = (
    r"[%％٪]|"
    + _any("percent per_cent prozent pour_cent por_ciento por_cento per_cento процент(?:а|ов)? procent persen phần_trăm")
    + r"(?!\w)|प्रतिशत|শতাংশ|فیصد|(?:ب|في )الم(?:ئة|ائة)|パーセント|퍼센트"
)
_LESS = _any("में_से এর_মধ্যে میں_سے üzerinden 중 中")
"""Words after the best score: the number given out of it follows."""
_NAMED = rf"(?:{UNITS}{AROUND})?[,;，、]?{AROUND}"
OUT_OF = re.compile(
    rf"{AROUND}(?:"
    rf"(?:{_WORD}?(?:[/∕／]|out{SPACE}++of)|(?:{UNITS}{AROUND})?{_OF}(?!\w))(?:{AROUND}{_FILLER}(?!\w))*+{AROUND}{_BEST}"
    rf"|{_NAMED}{_WORD}{{0,2}}?{_MAX}(?:{AROUND}{_FILLER}(?!\w))*+(?:{AROUND}{_MARK}(?!\w))?{AROUND}[=:：–—]?{AROUND}{_BEST}"
    rf"|{_NAMED}(?:\d++{AROUND}[=:]{AROUND}{_WORD}{{1,2}}[,;]?{AROUND})?(?:{_WITH}{AROUND})?"
    rf"{_BEST}{AROUND}(?:{UNITS}{AROUND})?(?:{_IS_THE}?{_MAX}|{_IS_THE}(?:best|highest|top)(?!\w)|分制|点制|段階)"
    rf"|{_NAMED}{_WORD}{{0,4}}?{_SCALE}{AROUND}[=:：]?(?:{AROUND}{_FROM}(?![\w.,]\d|\w))*+"
    rf"{AROUND}(?:{_TO}{AROUND})?{_BEST}(?:{AROUND}{_TO}{AROUND}{_BEST})?"
    rf"|{_NAMED}{_WORD}{{0,3}}?(?:\d++{AROUND}-?{_TO}-?{AROUND})?{_BEST}{AROUND}-?(?:{_POINTS}{AROUND}-?)?{AROUND}{_SCALE}"
    rf"|{_NAMED}(?<=[(（\[]){_BEST}{AROUND}{_TO}{AROUND}{_BEST}{SPACE}*+[)）\]]"
    rf"|{_NAMED}(?<=[(（\[]){_BEST}{AROUND}(?:{UNITS}{AROUND})?(?:{_LESS}){SPACE}*+[)）\]]"
    rf"|({_PERCENT}))",
    re.IGNORECASE,
)
"""The best score there is, where a verdict names it: the last group that matched, a percentage being of a hundred."""
BEST_FIRST = re.compile(
    rf"{AROUND}{UNITS}?{AROUND}(?:満点|满点|满分|滿分|만점|段階(?:評価)?)?{AROUND}"
    rf"{_any('中的 中 のうち で 에 에서 중 중에 중에서 में_से এর_মধ্যে میں_سے üzerinden')}{AROUND}({POSITIVE})",
    re.IGNORECASE,
)
"""The score after a best score that stands first (`10点中4点`)."""
NAMED = re.compile(
    rf"(?:\A|{LINE_END})(?:{SPACE}|[-*#>•|]|\d++[.)])*+((?:[^\W\d_][^\W_'’-]*+(?:[-'’][^\W_]++)*+{SPACE}++){{1,3}})[*_`\"]*+\Z"
)
"""The end of a line's beginning: the words that say which score follows."""
OVERALL = re.compile(
    r"(?<![\w'’-])(?:a|an|the|my|our|your|his|her|its|this|that|final|overall|total|so|thus|hence|therefore|and|or|but|i|we|would|will"
    r"|gives?|assign|award|deserves|gets|is|are|as|with|of|for|to|in|sum|average|mean|aggregate|combined|cumulative|weighted|holistic"
    r"|resulting|new|updated|revised|adjusted|corrected|actual|true|given|assigned|awarded|suggested|proposed|recommended|end|last"
    r"|(?:response|answer|judge|assistant|model)(?:['’]s)?)(?![\w'’-])",
    re.IGNORECASE,
)
"""A word that names the whole score, not one of several criteria."""
LISTED = re.compile(rf"([.)）、]){SPACE}*+[^\n]{{1,400}}?(?:\n\s*+|{SPACE}|[;；,，。])2\1(?!\d)")
"""The list that a 1 is the first number of."""
ENDS_LINE = re.compile(
    rf"(?![.)）、]{SPACE}++\S)(?:</[a-z][\w-]{{0,20}}>|[^\w\n\r\v\f\x1c-\x1e\x85\u2028\u2029]|\d|out(?!\w)"
    rf"|(?:{UNITS}|{_OF}|{_MAX}|{_FILLER}|{RANGE})(?![^\W\d_]))*+(?:{LINE_END}|\Z)",
    re.IGNORECASE,
)
"""A rest of a line without words of its own."""
