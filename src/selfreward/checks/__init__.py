"""What a recipe needs and costs, part by part: models, seed, stages, memory, disk. `selfreward.check` puts them together."""
