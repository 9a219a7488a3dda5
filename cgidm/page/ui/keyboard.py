"""What gradio leaves out for somebody who works the page by keyboard: groups of choices, and where the focus goes."""

# Each radio button of gradio's is a group of its own, renamed when it changes: arrows would not move, and each would
# be a stop of Tab. So before a key does anything, those of a question get one name.
ONE_GROUP = """() => document.addEventListener('keydown', () => {
    document.querySelectorAll('fieldset[id]:has(input[type=radio])').forEach(group =>
        group.querySelectorAll('input[type=radio]').forEach(choice => { choice.name = `group-${group.id}`; }));
}, true)"""
# Enter in a list takes the focus away with it; given back, the list would open again, which Escape undoes.
STAY_IN_LIST = """() => document.addEventListener('keydown', event => {
    const field = event.target;
    if (event.key !== 'Enter' || !field.matches('[role=combobox]')) return;
    setTimeout(() => {
        if (document.activeElement !== document.body) return;
        field.focus();
        setTimeout(() => field.dispatchEvent(new KeyboardEvent('keydown', {key: 'Escape', bubbles: true})));
    });
})"""
KEYBOARD = (ONE_GROUP, STAY_IN_LIST)
