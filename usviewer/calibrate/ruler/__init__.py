"""The depth ruler on a scanner's screen: found, confirmed, remembered and watched."""
