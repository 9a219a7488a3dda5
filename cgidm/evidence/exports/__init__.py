"""What an artist does next: texts that are filled in from a record, with blanks for what the tool cannot know."""
