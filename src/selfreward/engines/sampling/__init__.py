"""Engines that sample text: transformers, vLLM, endpoints, and any of them spread over a Ray cluster."""
