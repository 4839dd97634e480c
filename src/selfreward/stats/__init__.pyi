from .battles import (agreed_wins as agreed_wins, place_weights as place_weights, strengths as strengths,
    weighed_wins as weighed_wins)
from .intervals import (Floats as Floats, difference_of_shares as difference_of_shares, distance_skewness as distance_skewness,
    resampled as resampled, spread_within as spread_within)
from .novelty import (NO_SPACES as NO_SPACES, WORD as WORD, WORD_OF_ANY_SCRIPT as WORD_OF_ANY_SCRIPT, Novelty as Novelty,
    count_words as count_words, plain as plain)
from .ranks import (kendall as kendall, mean_places as mean_places, places as places, rank_consistency as rank_consistency, spearman as spearman)
from .rejudging import (Bin as Bin, Odds as Odds, odds_of as odds_of, pair_outcomes as pair_outcomes, reliability as reliability)
from .scores import (Scores as Scores, Tally as Tally, means as means, mean_scores as mean_scores)
from .wording import (TRAITS as TRAITS, Trait as Trait, bigrams as bigrams, furthest as furthest, known_traits as known_traits,
    words as words)
