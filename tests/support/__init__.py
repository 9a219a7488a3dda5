"""What several tests share: tiny models, closed-form worlds, a stand-in Hub, the page as a process."""
