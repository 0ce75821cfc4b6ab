"""Mail: templates, messages, delivery, and the catcher that shows them to developers."""
