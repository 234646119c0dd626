"""The console: pages of the server for people, under `/console`.

A page reads and acts through the services that the native API uses. `application` admits visitors
and finds the page, `visit` is what a page gets, and each section of the menu is a module.
"""
