"""From files of questions and answers to datasets of both frameworks."""
