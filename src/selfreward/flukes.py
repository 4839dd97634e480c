"""To be written: how likely a pair would come out the other way round if its responses were judged again."""
