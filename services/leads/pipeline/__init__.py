"""What other systems tell of customers: activities, opportunities, invoices, and whose they are."""
