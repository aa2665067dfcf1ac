"""Training: industrial images, synthetic defects, the loop. No medical image is ever read here."""
