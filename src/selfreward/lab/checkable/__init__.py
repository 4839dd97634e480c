"""Prompts in plain English whose instructions a program can check, for a small real model."""
