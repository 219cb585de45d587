"""Tests of amorlip; helpers/ holds what several of them use."""
